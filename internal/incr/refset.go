package incr

// refSetSpill is the size above which a refSet keeps a map: below it a scan of the slice is cheaper and smaller.
const refSetSpill = 16

// refSet is a set of readers. Most values have none or one, which is all that a cell has room for; some have a handful,
// and a few (a Namespace, a GatewayClass) as many as there are routes: all must be cheap to add to and to remove from.
type refSet struct {
	// first is one member. It is the zero ref if there is none: the first node of an engine has nothing before it that
	// it could read, so it is never a reader.
	first ref
	more  *refs
}

// refs are the members of a refSet beyond the first.
type refs struct {
	few  []ref
	many map[ref]struct{}
}

func (s *refSet) add(r ref) {
	switch {
	case s.first == r:
	case s.more != nil:
		s.more.add(r)
	case s.first == ref{}:
		s.first = r
	default:
		s.more = &refs{few: []ref{r}}
	}
}

func (s *refSet) remove(r ref) {
	if s.first == r {
		s.first = ref{}
		return
	}
	if s.more == nil {
		return
	}
	if s.more.remove(r); s.more.empty() {
		s.more = nil
	}
}

func (s *refSet) empty() bool { return s.first == ref{} && s.more == nil }

// each calls f for every member. The order is not defined, and f must not depend on it.
func (s *refSet) each(f func(ref)) {
	if (s.first != ref{}) {
		f(s.first)
	}
	if s.more == nil {
		return
	}
	for _, r := range s.more.few {
		f(r)
	}
	for r := range s.more.many {
		f(r)
	}
}

func (s *refs) add(r ref) {
	if s.many != nil {
		s.many[r] = struct{}{}
		return
	}
	for _, have := range s.few {
		if have == r {
			return
		}
	}
	if len(s.few) < refSetSpill {
		s.few = append(s.few, r)
		return
	}
	s.many = make(map[ref]struct{}, 2*refSetSpill)
	for _, have := range s.few {
		s.many[have] = struct{}{}
	}
	s.many[r] = struct{}{}
	s.few = nil
}

func (s *refs) remove(r ref) {
	if s.many != nil {
		delete(s.many, r)
		return
	}
	for i, have := range s.few {
		if have == r {
			s.few[i] = s.few[len(s.few)-1]
			s.few = s.few[:len(s.few)-1]
			return
		}
	}
}

func (s *refs) empty() bool { return len(s.few) == 0 && len(s.many) == 0 }
