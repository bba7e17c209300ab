package model

import (
	"cmp"
	"strings"
	"unique"
)

// SettingsKey says where the cluster-scoped settings of a backend come from: from a policy, or from a part of one. The
// zero value is no settings. It is small, because it is part of the key of every backend; make it with [Settings].
type SettingsKey struct {
	handle unique.Handle[settings]
}

type settings struct {
	kind, path  string
	own, parent Name
}

// Settings returns the key of the settings in a policy of a kind: all of a BackendTrafficPolicy if path is empty, else
// those beside the backend reference at that field. parent is the policy that own is merged with, empty for none.
func Settings(kind string, own, parent Name, path string) SettingsKey {
	return SettingsKey{handle: unique.Make(settings{kind: kind, own: own, parent: parent, path: path})}
}

func (k SettingsKey) value() settings {
	if k == (SettingsKey{}) {
		return settings{}
	}
	return k.handle.Value()
}

// Kind returns the kind of the policy.
func (k SettingsKey) Kind() string { return k.value().kind }

// Own returns the policy.
func (k SettingsKey) Own() Name { return k.value().own }

// Parent returns the policy that Own is merged with, the zero value if there is none.
func (k SettingsKey) Parent() Name { return k.value().parent }

// Path returns the field of the backend reference that the settings are for, empty for all that the policy leads to.
func (k SettingsKey) Path() string { return k.value().path }

// Policies returns the policies that the settings come from: its own, and the one that it is merged with, if there is
// one.
func (k SettingsKey) Policies() []Ref {
	v := k.value()
	out := []Ref{{Group: GroupEnvoyGateway, Kind: v.kind, Name: v.own}}
	if v.parent != (Name{}) {
		out = append(out, Ref{Group: GroupEnvoyGateway, Kind: v.kind, Name: v.parent})
	}
	return out
}

// Compare orders settings by kind, policy, the policy that it is merged with, and path.
func (k SettingsKey) Compare(o SettingsKey) int {
	if k == o {
		return 0
	}
	a, b := k.value(), o.value()
	return cmp.Or(strings.Compare(a.kind, b.kind), a.own.Compare(b.own), a.parent.Compare(b.parent),
		strings.Compare(a.path, b.path))
}

// Equal reports whether the two are the same.
func (k SettingsKey) Equal(o SettingsKey) bool { return k == o }

// settingsMark is what the suffix of a cluster with settings starts with.
const settingsMark = "settings/"

// String returns settings/kind/namespace/name, lower case kind, with +namespace/name behind it for the policy that it
// is merged with, and @path. Names have neither "+" nor "@", so it is injective. It is empty for the zero value.
func (k SettingsKey) String() string {
	if k == (SettingsKey{}) {
		return ""
	}
	v := k.value()
	out := settingsMark + strings.ToLower(v.kind) + "/" + v.own.Namespace + "/" + v.own.Name
	if v.parent != (Name{}) {
		out += "+" + v.parent.Namespace + "/" + v.parent.Name
	}
	if v.path != "" {
		out += "@" + v.path
	}
	return out
}

// settingsKinds are the kinds of policies with settings for clusters, by their names in those of clusters.
var settingsKinds = map[string]string{
	"backendtrafficpolicy": KindBackendTrafficPolicy,
	"clienttrafficpolicy":  KindClientTrafficPolicy,
	"securitypolicy":       KindSecurityPolicy,
	"envoyextensionpolicy": KindEnvoyExtensionPolicy,
	"envoyproxy":           KindEnvoyProxy,
}

// parseSettings reads what [SettingsKey.String] wrote.
func parseSettings(text string) SettingsKey {
	text, path, _ := strings.Cut(strings.TrimPrefix(text, settingsMark), "@")
	text, with, _ := strings.Cut(text, "+")
	kind, own, _ := strings.Cut(text, "/")
	var v settings
	v.kind, v.path = settingsKinds[kind], path
	v.own.Namespace, v.own.Name, _ = strings.Cut(own, "/")
	v.parent.Namespace, v.parent.Name, _ = strings.Cut(with, "/")
	return SettingsKey{handle: unique.Make(v)}
}

// PolicyStack names the policies that hold for everything that a listener takes, unless a route has a policy of its own
// of the same kind, and the EnvoyProxy that says what policies may use there. It says which objects these are, not what
// they say: an edit of one of them leaves it as it is. The zero value is none; make others with [Stack]. Beside them is
// the gear of the listener's proxies.
type PolicyStack struct {
	handle unique.Handle[stack]
}

type stack struct {
	backendTraffic, security, extension Name
	registry                            registry
	gear                                Gear
}

// registry is an EnvoyProxy, and that of the class which it may be merged with. Both names are empty for the defaults
// of the program.
type registry struct {
	own, parent Name
	has         bool
}

// Stack returns the stack of a BackendTrafficPolicy, a SecurityPolicy and an EnvoyExtensionPolicy; an empty name is
// none.
func Stack(backendTraffic, security, extension Name) PolicyStack {
	return stackOf(stack{backendTraffic: backendTraffic, security: security, extension: extension})
}

func stackOf(s stack) PolicyStack {
	if s == (stack{}) {
		return PolicyStack{}
	}
	return PolicyStack{handle: unique.Make(s)}
}

// WithRegistry returns the stack with an EnvoyProxy that registers something for policies to use, and that of the class
// which it may be merged with.
func (s PolicyStack) WithRegistry(own, parent Name) PolicyStack {
	v := s.value()
	v.registry = registry{own: own, parent: parent, has: true}
	return stackOf(v)
}

// Registry returns the EnvoyProxy that registers something, and that of the class; ok is false if there is none.
func (s PolicyStack) Registry() (own, parent Name, ok bool) {
	r := s.value().registry
	return r.own, r.parent, r.has
}

// Gear is what proxies of a listener have and do, beside its policies and with the same reach.
type Gear struct {
	Places Places
	// InOrder says that rules of routes are tried in the order in which they are written, the older routes first
	// (EnvoyProxy.preserveRouteOrder), and not by what their matches say.
	InOrder bool
	// Filters is the order of HTTP filters (EnvoyProxy.filterOrder).
	Filters FilterOrder
}

// Compare orders by databases, order of routes and order of filters.
func (g Gear) Compare(o Gear) int {
	return cmp.Or(g.Places.Compare(o.Places), compareBool(g.InOrder, o.InOrder), g.Filters.Compare(o.Filters))
}

// With returns the same policies where proxies have other gear.
func (s PolicyStack) With(gear Gear) PolicyStack {
	v := s.value()
	v.gear = gear
	return stackOf(v)
}

// Gear returns what the listener's proxies have and do.
func (s PolicyStack) Gear() Gear { return s.value().gear }

func (s PolicyStack) value() stack {
	if s == (PolicyStack{}) {
		return stack{}
	}
	return s.handle.Value()
}

// Policy returns the policy of a kind, the zero value if there is none.
func (s PolicyStack) Policy(kind string) Name {
	switch v := s.value(); kind {
	case KindBackendTrafficPolicy:
		return v.backendTraffic
	case KindSecurityPolicy:
		return v.security
	case KindEnvoyExtensionPolicy:
		return v.extension
	default:
		return Name{}
	}
}

// Compare orders stacks by BackendTrafficPolicy, SecurityPolicy, EnvoyExtensionPolicy, EnvoyProxy and gear.
func (s PolicyStack) Compare(o PolicyStack) int {
	if s == o {
		return 0
	}
	a, b := s.value(), o.value()
	return cmp.Or(a.backendTraffic.Compare(b.backendTraffic), a.security.Compare(b.security),
		a.extension.Compare(b.extension), a.registry.own.Compare(b.registry.own),
		a.registry.parent.Compare(b.registry.parent), compareBool(a.registry.has, b.registry.has),
		a.gear.Compare(b.gear))
}

// Equal reports whether the two are the same.
func (s PolicyStack) Equal(o PolicyStack) bool { return s == o }
