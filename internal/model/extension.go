package model

import (
	"cmp"
	"slices"
	"strings"
	"unique"
)

// Hook is a point at which an extension server is asked to change what was built, named as in the EnvoyGateway file
// (XDSTranslatorHook of gateway.envoyproxy.io/v1alpha1).
type Hook string

// The hooks, in the order in which they are called.
const (
	HookRoute        Hook = "Route"
	HookVirtualHost  Hook = "VirtualHost"
	HookHTTPListener Hook = "HTTPListener"
	HookEndpoints    Hook = "Endpoints"
	HookCluster      Hook = "Cluster"
	HookTranslation  Hook = "Translation"
)

// GroupKind is a kind of objects, whatever its version.
type GroupKind struct {
	Group, Kind string
}

// String returns Kind.group.
func (g GroupKind) String() string { return g.Kind + "." + g.Group }

// ExtensionManager is what an extension server is asked about: see ExtensionManager of
// gateway.envoyproxy.io/v1alpha1.
type ExtensionManager struct {
	// Name tells it apart from others, in messages too.
	Name string
	// Hooks are those that it takes part in.
	Hooks []Hook
	// Resources are the kinds of filters of routes and of backends that it understands, Policies those of policies.
	Resources, Policies []GroupKind
	// FailOpen has what it cannot be asked about served as it is. Else that stays what it was.
	FailOpen bool
	// Translation says what the hook of that name is given.
	Translation TranslationScope
}

// TranslationScope are the types of resources that HookTranslation is given, and decides about.
type TranslationScope struct {
	Listeners, Routes, Clusters, Secrets bool
}

// Takes says whether the server takes part in a hook.
func (m *ExtensionManager) Takes(hook Hook) bool { return slices.Contains(m.Hooks, hook) }

// Extension is an object that an extension server understands, for Sluice an opaque text.
type Extension struct {
	Ref Ref
	// JSON is the object as it was read, without its status and what the API server keeps for itself.
	JSON string
}

// of says whether an object is of the kind.
func (g GroupKind) of(e Extension) bool { return g.Group == e.Ref.Group && g.Kind == e.Ref.Kind }

// SelectExtensions returns the objects whose kind is one of those given, in their order.
func SelectExtensions(list []Extension, kinds []GroupKind) []Extension {
	var out []Extension
	for _, e := range list {
		if slices.ContainsFunc(kinds, func(g GroupKind) bool { return g.of(e) }) {
			out = append(out, e)
		}
	}
	return out
}

// CallSpec is everything that says what an extension server is asked.
type CallSpec struct {
	// Manager is the name of the server, Hook the question.
	Manager string
	Hook    Hook
	// Request is the marshalled request of the hook.
	Request string
	// About names what is asked about, for messages.
	About string
}

// Call is a question to an extension server. Two with the same spec are one. Make it with [NewCall].
type Call struct {
	handle unique.Handle[CallSpec]
}

// NewCall returns the call of a spec.
func NewCall(s CallSpec) Call { return Call{handle: unique.Make(s)} }

// Spec returns what the call was made of.
func (c Call) Spec() CallSpec {
	if c == (Call{}) {
		return CallSpec{}
	}
	return c.handle.Value()
}

// Compare orders by server, hook, what it is about, and the request.
func (c Call) Compare(o Call) int {
	if c == o {
		return 0
	}
	a, b := c.Spec(), o.Spec()
	return cmp.Or(strings.Compare(a.Manager, b.Manager), strings.Compare(string(a.Hook), string(b.Hook)),
		strings.Compare(a.About, b.About), strings.Compare(a.Request, b.Request))
}

// Equal reports whether the two are the same.
func (c Call) Equal(o Call) bool { return c == o }

// String says who is asked about what, for messages.
func (c Call) String() string {
	s := c.Spec()
	return s.Manager + ", " + string(s.Hook) + ", " + s.About
}

// Answer is what became of a [Call].
type Answer struct {
	// Data is the marshalled resource as the server wants it, never changed; nil if it has left it as it is.
	Data []byte
	// Error is why there is no answer, one clause for a message; empty if there is one.
	Error string
}
