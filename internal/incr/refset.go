package incr

// refSetSpill is the size above which a refSet keeps a map: below it a scan of the slice is cheaper and smaller.
const refSetSpill = 16

// refSet is a small set of refs. Most values have a handful of readers, a few (a Namespace, a GatewayClass) have as
// many as there are routes; both must be cheap to add to and to remove from.
type refSet struct {
	few  []ref
	many map[ref]struct{}
}

func (s *refSet) add(r ref) {
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

func (s *refSet) remove(r ref) {
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

func (s *refSet) empty() bool { return len(s.few) == 0 && len(s.many) == 0 }

// each calls f for every member. The order is not defined, and f must not depend on it.
func (s *refSet) each(f func(ref)) {
	for _, r := range s.few {
		f(r)
	}
	for r := range s.many {
		f(r)
	}
}
