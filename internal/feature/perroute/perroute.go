// Package perroute puts a filter's configuration on a route or a virtual host (typed_per_filter_config).
package perroute

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Set configures the HTTP filter of the given name for a route; a filter that is disabled by default runs for the
// route from then on. It replaces what was set for that filter before: the more specific configuration comes later.
func Set(route *routev3.Route, filter string, config proto.Message) {
	if route.TypedPerFilterConfig == nil {
		route.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	route.TypedPerFilterConfig[filter] = Pack(config)
}

// SetHost configures the HTTP filter of the given name for all routes of a virtual host that do not do so themselves.
func SetHost(host *routev3.VirtualHost, filter string, config proto.Message) {
	if host.TypedPerFilterConfig == nil {
		host.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	host.TypedPerFilterConfig[filter] = Pack(config)
}

// Pack returns m as an Any with deterministic bytes.
func Pack(m proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	// Marshalling fails only for text that is not UTF-8, and what users write is UTF-8 by way of JSON.
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic(fmt.Sprintf("perroute: marshal %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return packed
}
