package file

import (
	"path/filepath"
	"strings"
	"time"
)

// keep has the content of a file saved if all of it is good, and the file counted among the troubled if it is not fine.
func (s *Source) keep(f *file) {
	delete(s.troubled, f.path)
	delete(s.forget, f.path)
	if f.troubling() {
		s.troubled[f.path] = struct{}{}
	}
	if s.state != nil && f.content != nil && f.good() {
		s.state.save(s.absolute(f.path), f.content)
	}
	f.content = nil
}

// recall puts the saved versions of those files in use that are not good now, for put to find what is missing in them.
func (s *Source) recall(files []*file) {
	if s.state == nil {
		return
	}
	for _, f := range files {
		bad := f.broken != ""
		for _, p := range f.next {
			for _, e := range p.entries {
				bad = bad || len(e.Problems) > 0
			}
		}
		if !bad {
			continue
		}
		if content, saved, ok := s.state.load(s.absolute(f.path)); ok {
			s.putSaved(f.path, content, saved)
		}
	}
}

// putSaved puts a saved version of a file in use.
func (s *Source) putSaved(path string, content []byte, saved time.Time) {
	f := &file{path: path}
	f.split(content, f)
	f.content, f.saved = nil, saved
	s.decode([]*file{f})
	s.put(f)
}

// recallRoots puts the saved versions of all files in use that are below a root that is not there, and has the state
// forget the files that are gone from those that are.
func (s *Source) recallRoots() {
	if s.state == nil {
		return
	}
	present := map[string]bool{}
	for path := range s.files {
		present[s.absolute(path)] = true
	}
	var there []string
	for _, r := range s.roots {
		if s.rootThere(r.path) {
			there = append(there, r.abs)
			continue
		}
		for _, abs := range s.state.below(r.abs) {
			content, saved, ok := s.state.load(abs)
			if !ok {
				continue
			}
			path := filepath.Join(r.path, strings.TrimPrefix(abs, r.abs))
			s.putSaved(path, content, saved)
			s.put(&file{path: path, gone: true})
		}
	}
	s.state.prune(there, present)
}

// forgetGone has the state forget the files that have been gone for a while. It returns when to ask again.
func (s *Source) forgetGone(now time.Time) time.Time {
	var next time.Time
	for path, since := range s.forget {
		at := since.Add(settle)
		if now.Before(at) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			continue
		}
		delete(s.forget, path)
		delete(s.dropped, path)
		if s.state != nil {
			s.state.forget(s.absolute(path))
		}
	}
	return next
}
