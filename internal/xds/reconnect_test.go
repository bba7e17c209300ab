package xds

import (
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// resume sends the first request of a type on a new stream of an Envoy that has the versions.
func (c *client) resume(t Type, names []string, has map[string]string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: t.URL(), ResourceNamesSubscribe: names, InitialResourceVersions: has,
	})
}

func TestReconnectSendsOnlyTheDifference(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		boot(h).cancel()
		h.server.Update(testProxy, []Change{set(Cluster, "c2", "2"), set(Endpoints, "c1", "2"), drop(Listener, "l")})
		version := func(c Change) string { return formatVersion(c.Resource.Hash) }
		c := h.connect()
		c.resume(Cluster, nil, map[string]string{
			"c1": version(set(Cluster, "c1", "1")), "c2": version(set(Cluster, "c2", "1")), "old": "?",
		})
		c.ack(c.expect("cluster c2"))
		c.resume(Endpoints, []string{"c1", "c2", "old"}, map[string]string{
			"c1": version(set(Endpoints, "c1", "1")), "old": "1",
		})
		c.ack(c.expect("endpoints c1 c2"))
		c.resume(Listener, []string{"*"}, map[string]string{"l": version(set(Listener, "l", "1"))})
		c.resume(Routes, []string{"r"}, map[string]string{
			"r": formatVersion(RoutesHash(empty("r").Body, NewParts([]*Part{part("a", "1", "c1")}))),
		})
		c.ack(c.expect("listener -l"))
		c.quiet()
		time.Sleep(time.Minute)
		c.ack(c.expect("cluster -old"))
		c.quiet()
	})
}

// While a cluster warms, Envoy sends no request for clusters, not even the first of a new stream. It must lose none of
// its routes for that, and be helped out.
func TestReconnectWhileAClusterWarms(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		boot(h).cancel()
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "2", "c1"), part("b", "1", "c1")}, "a", "b")})
		c := h.connect()
		endpoints := set(Endpoints, "c1", "1")
		c.resume(Endpoints, []string{"c1"}, map[string]string{"c1": formatVersion(endpoints.Resource.Hash)})
		c.resume(Routes, []string{"r"}, map[string]string{"r": "0123456789abcdef"})
		time.Sleep(stall - 1)
		c.quiet()
		time.Sleep(time.Nanosecond)
		c.ack(c.expect("endpoints c1"))
		time.Sleep(time.Minute)
		c.quiet()
		c.resume(Cluster, nil, map[string]string{"c1": formatVersion(set(Cluster, "c1", "1").Resource.Hash)})
		c.ack(c.expect("cluster"))
		c.ack(c.expectHosts("a=2", "b=1"))
	})
}
