package xds

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// headed is a route configuration that adds a header to responses, which tells what is around the virtual hosts.
func headed(name, value string, parts []*Part, changed ...string) Change {
	return around(&routev3.RouteConfiguration{
		Name:                 name,
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-body", Value: value}}},
	}, parts, changed...)
}

// around is a route configuration with other things around its virtual hosts than [routes] has.
func around(config *routev3.RouteConfiguration, parts []*Part, changed ...string) Change {
	c := routes(config.GetName(), parts, changed...)
	c.Resource.Body = mustMarshal(config)
	c.Resource.Hash = RoutesHash(c.Resource.Body, c.Resource.Parts)
	return c
}

// TestEnvoyKeepsItsHosts has all that can change of a route configuration change under load, while its virtual hosts
// are resources of their own: what is around them, some of them, both at once and one after the other.
func TestEnvoyKeepsItsHosts(t *testing.T) {
	r := newRigWith(t, 1, -1)
	addresses := []string{backend(t, "0"), backend(t, "1")}
	var hosts []string
	for i := range 20 {
		hosts = append(hosts, fmt.Sprintf("host-%02d.test", i))
	}
	parts := func(changed, cluster int) []*Part {
		var out []*Part
		for i, host := range hosts {
			if i == changed {
				out = append(out, realPart(host, fmt.Sprint("c", cluster), ""))
			} else {
				out = append(out, realPart(host, "c0", ""))
			}
		}
		return out
	}
	r.update(realCluster("c0"), realEndpoints("c0", addresses[0]), realCluster("c1"), realEndpoints("c1", addresses[1]),
		r.realListener("http"), headed("http", "a", parts(-1, 0)))
	answers := func(host, body, header string) {
		t.Helper()
		var seen string
		if !eventually(func() bool {
			resp, err := r.client.Get("http://" + host + "/")
			if err != nil {
				seen = err.Error()
				return false
			}
			defer resp.Body.Close()
			one := make([]byte, 1)
			n, _ := resp.Body.Read(one)
			seen = fmt.Sprint(resp.StatusCode, " ", string(one[:n]), " ", resp.Header.Get("x-body"))
			return seen == fmt.Sprint(http.StatusOK, " ", body, " ", header)
		}) {
			t.Errorf("%s: %s, want 200 %s %s", host, seen, body, header)
		}
	}
	answers(hosts[3], "0", "a")
	stop := r.load(hosts...)
	r.update(headed("http", "a", parts(3, 1), hosts[3]))
	answers(hosts[3], "1", "a")
	r.update(headed("http", "b", parts(3, 1)))
	answers(hosts[3], "1", "b")
	answers(hosts[4], "0", "b")
	r.server.Update(testProxy, []Change{headed("http", "c", parts(3, 1))})
	r.update(headed("http", "c", parts(3, 0), hosts[3]))
	answers(hosts[3], "0", "c")
	// A new server finds out what Envoy has, and changes what is different.
	r.serve()
	r.update(realCluster("c0"), realEndpoints("c0", addresses[0]), realCluster("c1"), realEndpoints("c1", addresses[1]),
		r.realListener("http"), headed("http", "c", parts(4, 1)))
	answers(hosts[4], "1", "c")
	for _, e := range r.log.all() {
		if e.Kind == Pushed && e.Type == Routes && e.Resources != 1 {
			t.Errorf("%d resources and %d bytes were sent after the reconnect, want one virtual host", e.Resources, e.Bytes)
		}
	}
	// One Update changes both: no state between.
	r.update(headed("http", "d", parts(5, 1), hosts[4], hosts[5]))
	answers(hosts[5], "1", "d")
	answers(hosts[4], "0", "d")
	r.update(headed("http", "d", parts(6, 1), hosts[5], hosts[6]))
	answers(hosts[6], "1", "d")
	time.Sleep(200 * time.Millisecond)
	t.Logf("%d requests", stop())
	if len(r.rejected()) > 0 {
		t.Errorf("rejected: %+v", r.rejected())
	}
}

// TestHostsOfOneTableDelayNoOthers has one route configuration change each time that Envoy has taken it in: another one
// goes in between.
func TestHostsOfOneTableDelayNoOthers(t *testing.T) {
	bubbleWith(t, Options{HostsFrom: 1}, Connection{}, func(h *harness) {
		envoy := newSim(h)
		tables := []string{"a", "b", "c"}
		var all []Change
		for _, name := range tables {
			all = append(all, set(Listener, name, "0"), routes(name, []*Part{part("host", "0")}))
		}
		h.server.Update(testProxy, all)
		envoy.settle(time.Second)
		change := func(table, version string) {
			h.server.Update(testProxy, []Change{routes(table, []*Part{part("host", version)}, "host")})
		}
		change("a", "1")
		time.Sleep(time.Millisecond)
		change("b", "1")
		for round := 2; round < 5; round++ {
			time.Sleep(time.Millisecond)
			change("a", fmt.Sprint(round))
			change("c", fmt.Sprint(round))
			envoy.handle(envoy.next())
		}
		if got := envoy.has["routes/b/host"]; got != "1" {
			h.t.Errorf("b is at %q while others change, want 1", got)
		}
	})
}
