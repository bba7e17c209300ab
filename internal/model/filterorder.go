package model

import (
	"strings"
	"unique"
)

// FilterMove has an HTTP filter run right before another, or right after it (EnvoyProxy.filterOrder). Both are Envoy's
// names of kinds of filters, such as envoy.filters.http.ext_authz.
type FilterMove struct {
	Name, Anchor string
	After        bool
}

// FilterOrder is a list of [FilterMove], applied one after the other. The zero value is none; make others with
// [OrderFilters]. It is small, because it is part of the key of every route.
type FilterOrder struct {
	handle unique.Handle[string]
}

const (
	moveMark = "\n"
	// beforeMark and afterMark are between a filter and its anchor.
	beforeMark, afterMark = "<", ">"
)

// OrderFilters returns the order that moves make.
func OrderFilters(moves []FilterMove) FilterOrder {
	if len(moves) == 0 {
		return FilterOrder{}
	}
	texts := make([]string, len(moves))
	for i, m := range moves {
		mark := beforeMark
		if m.After {
			mark = afterMark
		}
		texts[i] = m.Name + mark + m.Anchor // no name of a filter has one of the marks
	}
	return FilterOrder{handle: unique.Make(strings.Join(texts, moveMark))}
}

func (o FilterOrder) text() string {
	if o == (FilterOrder{}) {
		return ""
	}
	return o.handle.Value()
}

// Moves returns what the order was made of.
func (o FilterOrder) Moves() []FilterMove {
	if o == (FilterOrder{}) {
		return nil
	}
	var out []FilterMove
	for text := range strings.SplitSeq(o.text(), moveMark) {
		name, anchor, before := strings.Cut(text, beforeMark)
		if !before {
			name, anchor, _ = strings.Cut(text, afterMark)
		}
		out = append(out, FilterMove{Name: name, Anchor: anchor, After: !before})
	}
	return out
}

// Compare orders by what the moves say.
func (o FilterOrder) Compare(p FilterOrder) int { return strings.Compare(o.text(), p.text()) }
