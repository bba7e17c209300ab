package file

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

// put makes a version of a file the one in use.
func (s *Source) put(f *file) {
	before := s.before(f.path)
	delete(s.dropped, f.path)
	for _, p := range f.next {
		p.reused = true
	}
	good := s.abandon(before)
	hides := f.broken != "" || f.gone
	for i, p := range f.next {
		fresh := p.line == 0 // only documents in use have a line
		p.index, p.line = i, p.source.Line
		f.docs = append(f.docs, p.doc)
		hides = s.adopt(p.doc, fresh, good, before.saved) || hides
	}
	f.next = nil
	if hides {
		f.haunt(good, before.saved)
		for _, d := range f.docs {
			if d.ghost {
				s.adopt(d, true, nil, time.Time{})
			}
		}
	}
	f.retire(before)
	s.files[f.path] = f
	delete(s.missing, f.path)
	if f.gone {
		s.missing[f.path] = struct{}{}
	}
	s.keep(f)
}

// before returns the version of a file that a new one comes after. It is empty for a file that was not there, but for
// the documents of one that vanished just now: some editors save by removing the file and writing another.
func (s *Source) before(path string) *file {
	if f := s.files[path]; f != nil {
		return f
	}
	if f := s.dropped[path]; f != nil {
		return f
	}
	return &file{path: path}
}

// abandon withdraws the claims of those documents of a version that are not reused. It returns what was good in them:
// what is wrong now is replaced with it.
func (s *Source) abandon(before *file) map[model.Ref]*entry {
	good := map[model.Ref]*entry{}
	for _, d := range before.docs {
		if d.reused {
			continue
		}
		for _, e := range d.entries {
			if e.Ref == (model.Ref{}) {
				continue
			}
			if e.value() != nil && good[e.Ref] == nil {
				good[e.Ref] = e
			}
			s.objects.remove(e)
		}
	}
	return good
}

// retire keeps the documents at hand that a version had and the new one has not.
func (f *file) retire(before *file) {
	f.retiredSince = time.Now()
	out := before.docs
	if f.retiredSince.Sub(before.retiredSince) < settle {
		f.retiredSince = before.retiredSince
		out = slices.Concat(before.docs, before.retired)
	}
	for _, d := range out {
		if !d.reused && !d.ghost {
			d.line = 0
			f.retired = append(f.retired, d)
		}
	}
	for _, d := range f.docs {
		d.reused = false
	}
}

// adopt claims the objects of a document if it is new. It reports whether the document hides which objects it has.
func (s *Source) adopt(d *doc, fresh bool, good map[model.Ref]*entry, saved time.Time) bool {
	hides := false
	for _, e := range d.entries {
		hides = hides || e.unidentified()
		if !fresh || e.Ref == (model.Ref{}) {
			continue
		}
		if !d.ghost {
			e.kept, e.saved = nil, time.Time{}
		}
		if last := good[e.Ref]; last != nil && e.Object == nil {
			e.kept, e.saved = last.value(), saved
			if saved.IsZero() {
				e.saved = last.saved
			}
		}
		s.objects.add(e)
	}
	return hides
}

// haunt adds the objects of the version before that the file no longer has as far as it can be read: the part that
// cannot may well have them.
func (f *file) haunt(good map[model.Ref]*entry, saved time.Time) {
	for _, d := range f.docs {
		for _, e := range d.entries {
			delete(good, e.Ref)
		}
	}
	if len(good) == 0 {
		return
	}
	ghost := &doc{path: f.path, index: len(f.docs), line: 1, ghost: true}
	for i, ref := range slices.SortedFunc(maps.Keys(good), model.Ref.Compare) {
		last := good[ref]
		e := &entry{doc: ghost, order: i, kept: last.value(), saved: last.saved}
		if e.saved.IsZero() {
			e.saved = saved
		}
		e.Ref, e.Line = ref, last.doc.line+last.Line-1
		ghost.entries = append(ghost.entries, e)
	}
	f.docs = append(f.docs, ghost)
}

// drop takes a file out of use that is no longer there.
func (s *Source) drop(path string, now time.Time) {
	f := s.files[path]
	if f == nil {
		return
	}
	if !s.rootThere(path) {
		// A folder that is unmounted or moved away says nothing about what is in it.
		if !f.gone {
			s.put(&file{path: path, gone: true})
		}
		return
	}
	for _, d := range f.docs {
		for _, e := range d.entries {
			if e.Ref != (model.Ref{}) {
				s.objects.remove(e)
			}
		}
	}
	s.dropped[path] = &file{path: path}
	s.dropped[path].retire(f)
	delete(s.files, path)
	delete(s.troubled, path)
	delete(s.missing, path)
	s.forget[path] = now
}

// rootOf returns the root that a path belongs to.
func (s *Source) rootOf(path string) root {
	for _, r := range s.roots {
		if path == r.path || below(path, r.path) || r.path == "." {
			return r
		}
	}
	return root{}
}

func (s *Source) rootThere(path string) bool {
	_, err := os.Stat(s.rootOf(path).abs)
	return err == nil
}

// absolute returns the absolute form of a path below a root.
func (s *Source) absolute(path string) string {
	r := s.rootOf(path)
	rel, err := filepath.Rel(r.path, path)
	if err != nil {
		return path
	}
	return filepath.Join(r.abs, rel)
}

// batch returns what is to be delivered, and whether there is anything. seen is when the changes were noticed.
func (s *Source) batch(now, seen time.Time) (source.Batch, bool) {
	b := s.objects.changes(now, seen)
	b.Problems, b.Notices = s.problems(), s.notices()
	same := slices.Equal(b.Problems, s.lastProblems) && slices.Equal(b.Notices, s.lastNotices)
	s.lastProblems, s.lastNotices = b.Problems, b.Notices
	return b, len(b.Set) > 0 || len(b.Delete) > 0 || !same
}

// problems returns all that is wrong in all files.
func (s *Source) problems() []resource.Problem {
	var all []resource.Problem
	for _, r := range s.roots {
		if _, err := os.Stat(r.abs); err != nil {
			all = append(all, resource.Problem{File: r.path, Message: fmt.Sprintf(
				"cannot be read: %v; what was last read from it stays in use until it is back", unwrapPath(err))})
		}
	}
	for path := range s.troubled {
		f := s.files[path]
		if f.broken != "" {
			all = append(all, resource.Problem{File: path, Message: f.broken})
		}
		for _, d := range f.docs {
			for _, e := range d.entries {
				if len(e.Problems) > 0 {
					all = append(all, e.At(path, d.line).Problems...)
				}
			}
		}
	}
	for ref := range s.objects.contested {
		claims := s.objects.ordered(ref)
		first := winner(claims)
		for _, e := range claims {
			if first == nil || e == first || e.doc.ghost || first.doc.ghost {
				continue
			}
			all = append(all, resource.Problem{
				File: e.doc.path, Line: e.doc.line + e.Line - 1, Object: ref,
				Message: fmt.Sprintf("already defined in %s:%d: that one is used", first.doc.path, first.doc.line+first.Line-1),
			})
		}
	}
	slices.SortFunc(all, resource.Problem.Compare)
	return all
}

// notices returns what users should know about their files.
func (s *Source) notices() []resource.Notice {
	var all []resource.Notice
	for path := range s.troubled {
		for _, d := range s.files[path].docs {
			if d.ghost {
				all = append(all, d.ghostNotice())
				continue
			}
			for _, e := range d.entries {
				if len(e.Notices) > 0 {
					all = append(all, e.At(path, d.line).Notices...)
				}
				if message := s.instead(e); message != "" {
					all = append(all, resource.Notice{File: path, Line: d.line + e.Line - 1, Object: e.Ref, Message: message})
				}
			}
		}
	}
	slices.SortFunc(all, resource.Notice.Compare)
	return all
}

// instead says what is used in the place of a bad object, nothing if it is not bad or nothing is used.
func (s *Source) instead(e *entry) string {
	switch {
	case e.kept != nil:
		return "the last good version stays in use" + since(e.saved)
	case e.Remains != nil && winner(s.objects.ordered(e.Ref)) == e:
		return "it guards requests and has never been good: they are refused until it is"
	}
	return ""
}

// ghostNotice says that what a file may still hold stays in use.
func (d *doc) ghostNotice() resource.Notice {
	n := resource.Notice{File: d.path}
	if len(d.entries) == 1 {
		n.Object = d.entries[0].Ref
		n.Message = "the last good version stays in use" + since(d.entries[0].saved)
		return n
	}
	n.Message = fmt.Sprintf("the last good versions of %d objects stay in use%s",
		len(d.entries), since(d.entries[0].saved))
	return n
}

func since(saved time.Time) string {
	if saved.IsZero() {
		return ""
	}
	return ", as saved at " + saved.UTC().Format(time.RFC3339)
}

// troubling reports whether there is anything to say about the file. Of one whose root is gone there is not: that is
// said of the root.
func (f *file) troubling() bool {
	if f.gone {
		return false
	}
	if f.broken != "" {
		return true
	}
	for _, d := range f.docs {
		if d.ghost {
			return true
		}
		for _, e := range d.entries {
			if len(e.Problems) > 0 || len(e.Notices) > 0 {
				return true
			}
		}
	}
	return false
}

// good reports whether all of the file can be used.
func (f *file) good() bool {
	if f.broken != "" || f.gone {
		return false
	}
	for _, d := range f.docs {
		for _, e := range d.entries {
			if len(e.Problems) > 0 {
				return false
			}
		}
	}
	return true
}
