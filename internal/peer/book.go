package peer

import (
	"maps"
	"slices"
	"strings"
)

// Report is what a replica has said since its last report.
type Report struct {
	// From is where the replica is, Build the version of Sluice that it runs.
	From, Build string
	// Whole says that nothing else that the replica said before is true any more. A whole report without statements is
	// that of a replica that is away: its Envoys have turned to others, or will.
	Whole      bool
	Statements []Statement
}

// Book is what the other replicas have said and not taken back. It is not safe for concurrent use.
type Book struct {
	build    string
	accounts map[string]*account
}

// account is what one replica has said.
type account struct {
	build string
	said  map[Subject]Statement
	kinds map[Kind]int
}

// NewBook returns an empty book of a replica that runs the given version of Sluice.
func NewBook(build string) *Book { return &Book{build: build, accounts: map[string]*account{}} }

// Empty says whether there is nothing in the book, because nobody else is there.
func (b *Book) Empty() bool { return len(b.accounts) == 0 }

// Take writes a report down. It returns the subjects about which something else is known now, in a fixed order.
func (b *Book) Take(r Report) []Subject {
	a := b.accounts[r.From]
	if a == nil {
		a = &account{said: map[Subject]Statement{}, kinds: map[Kind]int{}}
		b.accounts[r.From] = a
	}
	changed := map[Subject]bool{}
	if a.build != r.Build {
		for s := range a.said {
			changed[s] = true
		}
	}
	a.build = r.Build
	named := map[Subject]bool{}
	for _, st := range r.Statements {
		named[st.Subject] = true
		if a.write(st) {
			changed[st.Subject] = true
		}
	}
	if r.Whole {
		for s := range a.said {
			if !named[s] {
				a.write(Statement{Subject: s, Withdrawn: true})
				changed[s] = true
			}
		}
		if len(r.Statements) == 0 {
			delete(b.accounts, r.From)
		}
	}
	return slices.SortedFunc(maps.Keys(changed), Subject.compare)
}

// write takes one statement. It reports whether that is news.
func (a *account) write(st Statement) bool {
	old, had := a.said[st.Subject]
	switch {
	case st.Withdrawn && had:
		delete(a.said, st.Subject)
		a.kinds[st.Kind]--
		return true
	case st.Withdrawn || had && old == st:
		return false
	case !had:
		a.kinds[st.Kind]++
	}
	a.said[st.Subject] = st
	return true
}

// About returns what has been said about a subject, in a fixed order.
func (b *Book) About(s Subject) []Statement {
	var from []string
	for name, a := range b.accounts {
		if a.kinds[s.Kind] == 0 { // the usual case: nothing is refused
			continue
		}
		if _, ok := a.said[s]; ok {
			from = append(from, name)
		}
	}
	slices.Sort(from)
	out := make([]Statement, len(from))
	for i, name := range from {
		out[i] = b.accounts[name].said[s]
	}
	return out
}

// Subjects returns what has been said something about of a kind, in a fixed order.
func (b *Book) Subjects(kind Kind) []Subject {
	all := map[Subject]bool{}
	for _, a := range b.accounts {
		if a.kinds[kind] == 0 { // the usual case: nothing is refused
			continue
		}
		for s := range a.said {
			if s.Kind == kind {
				all[s] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(all), Subject.compare)
}

// Verdict is what the other replicas together say about a listener.
type Verdict struct {
	// Live says that the Envoys of some replica have the content, or had it when the replica came to hold the listener
	// for programmed.
	Live bool
	// Behind says that some replica has Envoys that do not have the content, as far as it is known.
	Behind bool
}

// Listener returns what the others say about a listener that has the given content here.
func (b *Book) Listener(listener Subject, content uint64) Verdict {
	var v Verdict
	for _, a := range b.accounts {
		st, said := a.said[listener]
		live := said && (st.State == Live || st.State == Programmed)
		// Another version of Sluice may see other content in the same objects. What it says of its own has to do.
		if live && a.build == b.build && st.Content != content {
			live = false
		}
		_, envoys := a.said[Subject{Kind: Envoys, Proxy: listener.Proxy}]
		v.Live = v.Live || live
		v.Behind = v.Behind || envoys && !live
	}
	return v
}

func (s Subject) compare(o Subject) int {
	for _, c := range []int{
		strings.Compare(string(s.Kind), string(o.Kind)), s.Proxy.Compare(o.Proxy), strings.Compare(s.Type, o.Type),
	} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(s.Name, o.Name)
}
