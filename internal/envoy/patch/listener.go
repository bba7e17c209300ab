package patch

import (
	"fmt"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Rename is something that Sluice and Envoy Gateway name differently.
type Rename struct {
	Own, Theirs string
}

// Listener is the view of a Listener. Envoy Gateway has the filter chain of plain HTTP as the default one, and those of
// TLS in the order of the Gateway's listeners.
type Listener struct {
	Name Rename
	// Chains are the filter chains, which are named as the route configurations that they serve, in the order of Envoy
	// Gateway.
	Chains []Rename
	// Plain says that all listeners on the port are of plain HTTP.
	Plain bool
}

// Show implements [View].
func (v *Listener) Show(m proto.Message) {
	l := m.(*listenerv3.Listener)
	l.Name = v.Name.Theirs
	for _, c := range l.FilterChains {
		v.rename(c, func(r Rename) (string, string) { return r.Own, r.Theirs })
	}
	v.sort(l.FilterChains)
	if v.Plain && len(l.FilterChains) == 1 && l.DefaultFilterChain == nil {
		l.DefaultFilterChain, l.FilterChains = l.FilterChains[0], nil
	}
}

// Restore implements [View]. The order of filter chains means nothing to Envoy.
func (v *Listener) Restore(m proto.Message) error {
	l := m.(*listenerv3.Listener)
	if l.Name != v.Name.Theirs {
		return fmt.Errorf("the name of a resource must stay: it is %q", v.Name.Theirs)
	}
	l.Name = v.Name.Own
	if v.Plain && len(l.FilterChains) == 0 && l.DefaultFilterChain != nil {
		l.FilterChains, l.DefaultFilterChain = []*listenerv3.FilterChain{l.DefaultFilterChain}, nil
	}
	for _, c := range l.FilterChains {
		v.rename(c, func(r Rename) (string, string) { return r.Theirs, r.Own })
	}
	if l.DefaultFilterChain != nil {
		v.rename(l.DefaultFilterChain, func(r Rename) (string, string) { return r.Theirs, r.Own })
	}
	return nil
}

// sort gives the filter chains the order of Envoy Gateway; those that it has not come last.
func (v *Listener) sort(chains []*listenerv3.FilterChain) {
	place := func(c *listenerv3.FilterChain) int {
		if i := slices.IndexFunc(v.Chains, func(r Rename) bool { return r.Theirs == c.Name }); i >= 0 {
			return i
		}
		return len(v.Chains)
	}
	slices.SortStableFunc(chains, func(a, b *listenerv3.FilterChain) int { return place(a) - place(b) })
}

// rename changes the names of a filter chain and of the route configuration that its connection manager asks for.
func (v *Listener) rename(c *listenerv3.FilterChain, pick func(Rename) (from, to string)) {
	translate := func(name string) string {
		for _, r := range v.Chains {
			if from, to := pick(r); from == name {
				return to
			}
		}
		return name
	}
	c.Name = translate(c.Name)
	for _, f := range c.Filters {
		packed := f.GetTypedConfig()
		manager := &hcmv3.HttpConnectionManager{}
		if !packed.MessageIs(manager) || packed.UnmarshalTo(manager) != nil {
			continue
		}
		rds := manager.GetRds()
		if rds == nil || translate(rds.RouteConfigName) == rds.RouteConfigName {
			continue
		}
		rds.RouteConfigName = translate(rds.RouteConfigName)
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)}
	}
}

// pack packs a message that was unpacked a moment ago.
func pack(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	// It fails only for strings that are not UTF-8, which were refused when it was unpacked.
	_ = anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}) //nolint:errcheck // see above
	return out
}
