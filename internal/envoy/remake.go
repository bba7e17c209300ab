package envoy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Made returns the resource that a message of somebody else is, without owners. It fails for a message that Envoy's own
// rules do not accept, or that cannot be told from others.
func Made(t xds.Type, m proto.Message) (*xds.Resource, error) {
	if v, ok := m.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return nil, err
		}
	}
	out := &xds.Resource{Name: patch.NameOf(m)}
	if out.Name == "" {
		return nil, errors.New("it has no name")
	}
	switch r := m.(type) {
	case *clusterv3.Cluster:
		out.Settle, _ = settled(r)
		out.Checked = len(r.GetHealthChecks()) > 0
	case *routev3.RouteConfiguration:
		return madeTable(out, r)
	}
	var err error
	if out.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	out.Hash = hash(out.Body)
	return out, nil
}

// settled has a cluster whose endpoints Envoy finds by DNS not hold back all other clusters until it has. It returns
// how long its routes wait then, and whether that changed the cluster.
func settled(c *clusterv3.Cluster) (settle time.Duration, changed bool) {
	switch c.GetType() {
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS:
		if c.WaitForWarmOnInit == nil {
			c.WaitForWarmOnInit = wrapperspb.Bool(false)
			return dnsSettle, true
		}
		return dnsSettle, false
	default:
		return 0, false
	}
}

// madeTable takes a route table apart into its virtual hosts.
func madeTable(out *xds.Resource, table *routev3.RouteConfiguration) (*xds.Resource, error) {
	bare := proto.CloneOf(table)
	bare.VirtualHosts = nil
	var err error
	if out.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(bare); err != nil {
		return nil, err
	}
	var parts []*xds.Part
	seen := map[string]bool{}
	for _, host := range table.GetVirtualHosts() {
		part, err := hostPart(host)
		if err != nil {
			return nil, err
		}
		if seen[part.Name] {
			return nil, fmt.Errorf("there are two virtual hosts named %q", part.Name)
		}
		seen[part.Name] = true
		parts = append(parts, part)
	}
	out.Parts = xds.NewParts(parts)
	out.Hash = xds.RoutesHash(out.Body, out.Parts)
	return out, nil
}

// hostPart returns the part that a virtual host of somebody else is, without owners. It needs the clusters that its
// routes name, and those that are added.
func hostPart(host *routev3.VirtualHost, needs ...string) (*xds.Part, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(host)
	if err != nil {
		return nil, err
	}
	part := newPart(host.GetName(), body)
	part.Needs = slices.Clone(needs)
	for _, route := range host.GetRoutes() {
		part.Needs = append(part.Needs, patch.NeedsOf(route)...)
	}
	slices.Sort(part.Needs)
	part.Needs = slices.Compact(part.Needs)
	return part, nil
}

// EndpointsOf returns the name of the endpoints that a cluster asks for; empty if it has its own, or none.
func EndpointsOf(r *xds.Resource) string {
	var c clusterv3.Cluster
	if proto.Unmarshal(r.Body, &c) != nil {
		return ""
	}
	return patch.EndpointsOf(&c)
}
