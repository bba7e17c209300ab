package resolve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// securable reports whether an object is of a kind that a BackendTLSPolicy can be attached to.
func securable(ref model.Ref) bool {
	switch ref.Kind {
	case model.KindService, model.KindBackend, model.KindXBackend:
		return model.BackendKey{Kind: ref.Kind, Name: ref.Name}.Ref() == ref
	}
	return false
}

// sectionsOf returns the sections of a backend that a BackendTLSPolicy can name, sorted, each once, and whether the
// object exists: the names of a Service's ports, as Gateway API has it, and the numbers of the ports of a Backend's
// endpoints, as Envoy Gateway has it, and so of an XBackend. There are none of ports without a name, of Unix sockets
// and of dynamic resolvers.
func (t *Tables) sectionsOf(r *incr.Reader, ref model.Ref) (sections []string, exists bool) {
	switch ref.Kind {
	case model.KindService:
		svc, ok := incr.Get(r, t.services, ref.Name)
		if !ok {
			return nil, false
		}
		for _, p := range svc.Ports {
			if p.Name != "" {
				sections = append(sections, p.Name)
			}
		}
	case model.KindBackend:
		b, ok := incr.Get(r, t.externals, ref.Name)
		if !ok {
			return nil, false
		}
		for _, port := range b.Ports {
			sections = append(sections, strconv.Itoa(int(port)))
		}
	case model.KindXBackend:
		b, ok := incr.Get(r, t.xbackends, ref.Name)
		if !ok {
			return nil, false
		}
		sections = append(sections, strconv.Itoa(int(b.Port)))
	}
	slices.Sort(sections)
	return slices.Compact(sections), true
}

// sectionsIn returns the sections of its object that connections to a backend are made to, "" for one that has no name.
func (t *Tables) sectionsIn(r *incr.Reader, key model.BackendKey) []string {
	if key.Kind != model.KindService {
		sections, _ := t.sectionsOf(r, key.Ref())
		if len(sections) == 0 {
			return []string{""}
		}
		return sections
	}
	svc, _ := incr.Get(r, t.services, key.Name)
	if svc == nil {
		return []string{""}
	}
	port, _ := svc.port(key.Port, corev1.ProtocolTCP)
	return []string{port.Name}
}

// governor returns the BackendTLSPolicy that says how connections to a backend are secured, the zero value if none
// does, and whether it is understood what that comes to. It is not if the ports of a Backend's endpoints have different
// policies, since they share a cluster. Nor if no policy is for the backend, but one is for a section that its object
// does not have: that may well be a mistake for this one, and what somebody wanted to secure must not be sent in clear
// text.
func (t *Tables) governor(r *incr.Reader, key model.BackendKey) (policy model.Name, understood bool) {
	held, ok := incr.Get(r, t.tlsHolders, key.Ref())
	if !ok {
		return model.Name{}, true
	}
	named := func(section string) model.Name {
		if policy, ok := held.at(section); ok {
			return policy
		}
		policy, _ := held.at("")
		return policy
	}
	sections := t.sectionsIn(r, key)
	policy, understood = named(sections[0]), true
	for _, section := range sections[1:] {
		if other := named(section); other != policy {
			understood = false
			if policy == (model.Name{}) {
				policy = other
			}
		}
	}
	if policy != (model.Name{}) {
		return policy, understood
	}
	all, _ := t.sectionsOf(r, key.Ref())
	for _, h := range held {
		if h.Section != "" && !slices.Contains(all, h.Section) {
			return h.Policy, false
		}
	}
	return model.Name{}, true
}

// concerns reports whether a target of a BackendTLSPolicy is about a backend, if only by a section that is not there.
func (t *Tables) concerns(r *incr.Reader, target policyTarget, key model.BackendKey) bool {
	if target.Section == "" || slices.Contains(t.sectionsIn(r, key), target.Section) {
		return true
	}
	all, _ := t.sectionsOf(r, target.Ref)
	return !slices.Contains(all, target.Section)
}

// noSection says that a target has no such section, and what can be named instead.
func noSection(target policyTarget, sections []string) string {
	const fails = "Until then requests to it fail, unless another BackendTLSPolicy is for their port"
	absent, of := fmt.Sprintf("%s has no port named %s", target.Ref, target.Section), "names"
	if target.Kind != model.KindService {
		absent, of = fmt.Sprintf("%s has no endpoint at the port %s", target.Ref, target.Section), "ports"
	}
	if len(sections) == 0 {
		return fmt.Sprintf("%s, and its ports have no %s: remove the section name. %s", absent, of, fails)
	}
	return fmt.Sprintf("%s: name one of %s, or remove the section name. %s", absent, strings.Join(sections, ", "), fails)
}
