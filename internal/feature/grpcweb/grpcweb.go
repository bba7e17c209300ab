// Package grpcweb lets browsers call the services of GRPCRoutes by gRPC-Web, as Envoy Gateway does.
//
// Envoy's filter grpc_web is on every listener, but disabled (HttpFilter.disabled): the routes of GRPCRoutes alone
// enable it, with a FilterConfig without content, so other requests do not pass it. It is before all filters of routes:
// these see gRPC, and what they answer reaches the browser as gRPC-Web.
//
// A ClientTrafficPolicy can switch it on for all routes of a listener, and off for GRPCRoutes too (grpc.enableWeb).
package grpcweb

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is what every rule of a GRPCRoute has.
type Feature struct{}

var (
	_ feature.RouteApplier = Feature{}
	_ feature.Stander      = Feature{}
)

// Name returns the name by which rules have it.
func (Feature) Name() string { return feature.GRPCWeb }

// Standing returns the filter, which runs for no request but those of routes that enable it.
func (Feature) Standing() []feature.HTTPFilter {
	return []feature.HTTPFilter{{Name: feature.GRPCWebFilter, Config: &webv3.GrpcWeb{}, Disabled: true}}
}

// ApplyRoute enables the filter.
func (Feature) ApplyRoute(r *feature.Route, _ model.Attached) {
	r.Set(feature.GRPCWebFilter, &routev3.FilterConfig{Config: &anypb.Any{}})
}
