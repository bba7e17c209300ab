package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// siblings are the Envoys of a zone in the last message about the fleet, as zone:number.
func (c *cluster) siblings(t *testing.T) string {
	t.Helper()
	for i := len(c.sent) - 1; i >= 0; i-- {
		if c.sent[i].Type != xds.Endpoints || c.sent[i].Name != model.LocalCluster {
			continue
		}
		out := &endpointv3.ClusterLoadAssignment{}
		if err := proto.Unmarshal(c.sent[i].Resource.Body, out); err != nil {
			t.Fatal(err)
		}
		var zones []string
		for _, l := range out.GetEndpoints() {
			zones = append(zones, fmt.Sprintf("%s:%d", l.GetLocality().GetZone(), len(l.GetLbEndpoints())))
		}
		return strings.Join(zones, " ")
	}
	return "never"
}

// TestSiblings: the Envoys of a fleet are told how many of them there are in which zone, from the first and as they
// come and go.
func TestSiblings(t *testing.T) {
	c := newCluster()
	c.Apply(base()[:2], nil, nil)
	if got := c.siblings(t); got != "" {
		t.Errorf("before there are any, they are told of %q", got)
	}
	var name string
	for _, f := range c.fleets {
		name = f.Name
	}
	slice := func(object, fleet string, zones ...string) source.Object {
		out := &discoveryv1.EndpointSlice{
			ObjectMeta: meta(object), AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{}},
		}
		out.Labels = map[string]string{discoveryv1.LabelServiceName: object, model.LabelFleet: fleet}
		for i, zone := range zones {
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}, Zone: &zone,
				Conditions: discoveryv1.EndpointConditions{Ready: ptr(zone != "not-ready")},
			})
		}
		return source.Object{Ref: refOf(model.GroupDiscovery, model.KindEndpointSlice, object), Object: out}
	}
	// Two Services have the same pods.
	c.Apply([]source.Object{
		slice("one", name, "a", "b", "a", "not-ready"), slice("two", name, "a", "b", "a"), slice("other", "other", "c"),
	}, nil, nil)
	if got := c.siblings(t); got != "a:2 b:1" {
		t.Errorf("they are told of %q", got)
	}
	c.Apply([]source.Object{slice("one", name, "a"), slice("two", name, "a")}, nil, nil)
	if got := c.siblings(t); got != "a:1" {
		t.Errorf("as some go they are told of %q", got)
	}
}
