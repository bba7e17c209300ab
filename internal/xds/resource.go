// Package xds serves configuration to Envoys over one aggregated delta stream each (delta ADS).
//
// The server is our own, because the order of pushes is what keeps requests from being lost: clusters with their
// endpoints first, then, once Envoy has ACKed them (it does so only when they are warm), listeners, routes and secrets,
// and removals last, after a grace. Resources are marshalled once, by the caller, and their bytes are shared by all
// streams. What an Envoy refuses is isolated by bisection and reported; everything else goes live.
//
// Large route configurations go host by host (VHDS, docs/adr/0012), and the largest divided among scopes as well (SRDS,
// docs/adr/0014), so that a change of a host costs Envoy a part of them. Who calls this package knows of neither.
package xds

import (
	"iter"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Type is one of the resource types that Sluice serves.
type Type int

// The types in the order in which a new configuration is pushed.
const (
	Cluster Type = iota
	Endpoints
	Secret
	Listener
	Routes
	// scopes say which requests have which route configuration, where the hosts of one are divided. The server makes them
	// itself.
	scopes
	numTypes
)

// Types iterates over the types that a configuration can have, in the order in which a new one is pushed.
func Types() iter.Seq[Type] {
	return func(yield func(Type) bool) {
		for t := range scopes {
			if !yield(t) {
				return
			}
		}
	}
}

// URL returns the type URL that Envoy uses for the type.
func (t Type) URL() string { return typeURLs[t] }

// String returns the short name of the type: cluster, endpoints, secret, listener, routes, scopes.
func (t Type) String() string { return typeNames[t] }

var typeURLs = [numTypes]string{
	Cluster:   "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	Endpoints: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	Secret:    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
	Listener:  "type.googleapis.com/envoy.config.listener.v3.Listener",
	Routes:    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	scopes:    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
}

var typeNames = [numTypes]string{"cluster", "endpoints", "secret", "listener", "routes", "scopes"}

// Resource is one xDS resource, marshalled. It is immutable and shared.
type Resource struct {
	// Name is the resource's own name: what Envoy subscribes to.
	Name string
	// Hash is the resource's version: the hash of Body, for Routes the [RoutesHash].
	Hash uint64
	// Body is the marshalled message. For Routes it is the RouteConfiguration without its virtual hosts.
	Body []byte
	// Parts are the virtual hosts of a RouteConfiguration; other types have none.
	Parts Parts
	// Needs are the names of the clusters that must be warm before an Envoy may be told of this resource.
	Needs []string
	// Owners are the objects to blame if Envoy refuses the resource.
	Owners []model.Ref
	// Settle is how long after its ACK a cluster is held to be not warm yet: DNS clusters are ACKed before their first
	// answer, so that a slow name server delays nobody else.
	Settle time.Duration
	// Checked says that a cluster is warm only once each of its endpoints had a first health check, which can take as
	// long as whoever asked for it likes.
	Checked bool
	// of is what the server made the resource of for Envoys; nil if it is as it came.
	of *source
}

// Part returns the virtual host with the name, nil if there is none. A resource that is nil has none.
func (r *Resource) Part(name string) *Part {
	if r == nil {
		return nil
	}
	return r.Parts.Find(name)
}

// Is reports whether the resource or, if it has a name, its part has this version. There is none of what is nil.
func (r *Resource) Is(part string, hash uint64) bool {
	if part == "" {
		return r != nil && r.Hash == hash
	}
	p := r.Part(part)
	return p != nil && p.Hash == hash
}

// Part is one virtual host of a RouteConfiguration: the unit that is held back while a cluster that it needs warms up,
// and the unit of bisection when Envoy refuses the whole.
type Part struct {
	// Name is unique within the resource: the virtual host's domain.
	Name string
	// Hash is the hash of Body.
	Hash uint64
	// Body is the marshalled virtual host, tag and length of its field in the RouteConfiguration included.
	Body []byte
	// Needs and Owners as in Resource.
	Needs  []string
	Owners []model.Ref
}

// Change is one resource that came, changed or went.
type Change struct {
	Type Type
	Name string
	// Resource is nil for a removal.
	Resource *Resource
	// Parts names the parts of a Routes resource that differ from the version before, those that went included. It is
	// ignored for other types, and for a resource that is new.
	Parts []string
}
