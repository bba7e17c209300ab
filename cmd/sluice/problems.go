package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// finder knows where every object was written.
type finder struct {
	places map[model.Ref]string
}

func newFinder(batch source.Batch) *finder {
	f := &finder{places: map[model.Ref]string{}}
	f.learn(batch)
	return f
}

func (f *finder) learn(batch source.Batch) {
	for _, ref := range batch.Delete {
		delete(f.places, ref)
	}
	for _, o := range batch.Set {
		place := o.File
		if o.Line > 0 {
			place = fmt.Sprintf("%s:%d", o.File, o.Line)
		}
		f.places[o.Ref] = place
	}
}

// of says which objects made what Envoy refuses, and where they were written. Of routes there can be many, and one is
// found to blame: it has its own line.
func (f *finder) of(e xds.Event) string {
	if e.Type == xds.Routes || len(e.Owners) == 0 {
		return ""
	}
	var out []string
	for _, ref := range e.Owners {
		if place, ok := f.places[ref]; ok {
			out = append(out, place+": "+ref.String())
		} else {
			out = append(out, ref.String())
		}
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// problems returns a line for everything that is wrong: what could not be read, then what was read but cannot be
// applied. It is sorted, and each line is there once.
func (f *finder) problems(unread []resource.Problem, issues status.Report) []string {
	var out []string
	for _, p := range unread {
		out = append(out, p.String())
	}
	for _, i := range issues {
		out = append(out, f.issue(i))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (f *finder) issue(i status.Issue) string {
	if place, ok := f.places[i.Object]; ok {
		return place + ": " + i.String()
	}
	return i.String()
}

// count returns "1 route", "2 routes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
