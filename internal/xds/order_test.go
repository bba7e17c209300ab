package xds

import (
	"fmt"
	"testing"
	"time"
)

// boot starts an Envoy on a configuration with one cluster, one listener and one route table of host "a", ACKs
// everything, and returns it idle.
func boot(h *harness) *client {
	h.t.Helper()
	h.server.Update(testProxy, []Change{
		set(Cluster, "c1", "1"), set(Endpoints, "c1", "1"), set(Listener, "l", "1"),
		routes("r", []*Part{part("a", "1", "c1")}),
	})
	c := h.connect()
	c.subscribe(Cluster)
	clusters := c.expect("cluster c1")
	c.subscribe(Endpoints, "c1")
	c.ack(c.expect("endpoints c1"))
	c.ack(clusters)
	c.subscribe(Listener)
	c.ack(c.expect("listener l"))
	c.subscribe(Routes, "r")
	c.ack(c.expectHosts("a=1"))
	c.quiet()
	return c
}

func TestNothingBeforeFirstUpdate(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := h.connect()
		c.subscribe(Cluster)
		c.subscribe(Listener, "*")
		time.Sleep(5 * time.Second)
		c.quiet()
		h.server.Update(testProxy, nil)
		c.ack(c.expect("cluster"))
		c.ack(c.expect("listener"))
		if live, n := h.server.Live(testProxy); live != 1 || n != 1 {
			t.Errorf("Live = %d of %d, want 1 of 1", live, n)
		}
	})
}

func TestClustersBeforeRoutes(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{
			set(Cluster, "c2", "1"), set(Endpoints, "c2", "1"), set(Listener, "l", "2"),
			routes("r", []*Part{part("a", "2", "c2")}, "a"),
		})
		clusters := c.expect("cluster c2")
		c.ack(c.expect("endpoints c2"))
		c.subscribe(Endpoints, "c2")
		c.quiet() // the endpoints came with the cluster: no second time
		c.ack(clusters)
		listener := c.expect("listener l")
		c.ack(c.expectHosts("a=2"))
		if live, _ := h.server.Live(testProxy); live != 1 {
			t.Errorf("live %d before the listener's ACK, want 1", live)
		}
		c.ack(listener)
		if live, _ := h.server.Live(testProxy); live != 2 {
			t.Errorf("live %d, want 2", live)
		}
		c.subscribe(Endpoints, "c2")
		c.expect("endpoints c2") // a repeated question gets an answer
	})
}

func TestChangedClusterGetsEndpointsAgain(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{
			set(Cluster, "c1", "2"), routes("r", []*Part{part("a", "2", "c1")}, "a"),
		})
		clusters := c.expect("cluster c1")
		c.ack(c.expect("endpoints c1"))
		time.Sleep(holdoff)
		c.ack(c.expectHosts("a=2")) // it was warm before, so nothing waits for it for long
		time.Sleep(stall)
		c.ack(c.expect("endpoints c1")) // the ACK does not come: once more
		time.Sleep(10 * stall)
		c.quiet() // and not again
		c.ack(clusters)
		c.quiet()
	})
}

func TestOnlyPartsThatNeedTheClusterAreHeld(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{
			set(Cluster, "c2", "1"),
			routes("r", []*Part{part("a", "2", "c2"), part("b", "1", "c1"), part("d", "1", "c2")}, "a", "b", "d"),
		})
		clusters := c.expect("cluster c2")
		c.quiet()
		time.Sleep(holdoff)
		c.ack(c.expectHosts("a=1", "b=1"))
		h.server.Update(testProxy, []Change{
			routes("r", []*Part{part("a", "2", "c2"), part("b", "2", "c1"), part("d", "1", "c2")}, "b"),
		})
		time.Sleep(holdoff)
		r := c.expectHosts("a=1", "b=2")
		c.ack(clusters)
		c.quiet()
		c.ack(r)
		c.ack(c.expectHosts("a=2", "b=2", "d=1"))
		c.quiet()
	})
}

func TestEndpointsHaveTheirOwnLane(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{set(Cluster, "c2", "1"), set(Endpoints, "c2", "1")})
		c.expect("cluster c2")
		c.ack(c.expect("endpoints c2"))
		h.server.Update(testProxy, []Change{set(Endpoints, "c1", "2"), set(Endpoints, "unused", "1")})
		r := c.expect("endpoints c1")
		h.server.Update(testProxy, []Change{set(Endpoints, "c1", "3")})
		h.server.Update(testProxy, []Change{set(Endpoints, "c1", "4"), set(Endpoints, "c2", "2")})
		c.quiet()
		c.ack(r)
		c.ack(c.expect("endpoints c1 c2"))
		c.quiet()
	})
}

func TestMissingEndpointsAreAnsweredEmpty(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{set(Cluster, "c2", "1")})
		c.expect("cluster c2")
		c.subscribe(Endpoints, "c2")
		r := c.expect("endpoints c2")
		if got, want := string(r.Resources[0].Resource.Value), string(empty("c2").Body); got != want {
			t.Errorf("endpoints %q, want %q", got, want)
		}
		c.ack(r)
		h.server.Update(testProxy, []Change{drop(Endpoints, "c1")})
		c.ack(c.expect("endpoints c1"))
	})
}

func TestRemovals(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{
			drop(Cluster, "c1"), drop(Endpoints, "c1"), drop(Listener, "l"), routes("r", nil, "a"),
		})
		c.ack(c.expectHosts())
		c.ack(c.expect("listener -l"))
		time.Sleep(59 * time.Second)
		c.quiet()
		time.Sleep(time.Second)
		c.ack(c.expect("cluster -c1"))
		h.server.Update(testProxy, []Change{set(Cluster, "c1", "1"), set(Endpoints, "c1", "1")})
		c.ack(c.expect("cluster c1"))
	})
}

func TestRemovalIsCancelled(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{drop(Cluster, "c1"), drop(Endpoints, "c1")})
		time.Sleep(30 * time.Second)
		h.server.Update(testProxy, []Change{set(Cluster, "c1", "1"), set(Endpoints, "c1", "1")})
		time.Sleep(5 * time.Minute)
		c.quiet()
	})
}

func TestClusterOfHeldPartIsKept(t *testing.T) {
	bubble(t, time.Second, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{
			set(Cluster, "c2", "1"), drop(Cluster, "c1"), routes("r", []*Part{part("a", "2", "c2")}, "a"),
		})
		clusters := c.expect("cluster c2")
		time.Sleep(time.Hour)
		c.quiet() // c2 never became warm, so a=1 is in use, and needs c1
		c.ack(clusters)
		r := c.expectHosts("a=2")
		c.quiet()
		c.ack(r)
		c.ack(c.expect("cluster -c1"))
	})
}

func TestSettle(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		dns := set(Cluster, "dns", "1")
		dns.Resource.Settle = 3 * time.Second
		h.server.Update(testProxy, []Change{dns, routes("r", []*Part{part("a", "2", "dns")}, "a")})
		c.ack(c.expect("cluster dns"))
		time.Sleep(3*time.Second - 1)
		c.quiet()
		time.Sleep(time.Nanosecond)
		c.ack(c.expectHosts("a=2"))
	})
}

func TestUnknownClusterHoldsNothing(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "2", "nowhere")}, "a")})
		c.ack(c.expectHosts("a=2"))
	})
}

func TestListenerTakesOverAddress(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{set(Listener, "m", "1"), drop(Listener, "l")})
		c.ack(c.expect("listener m -l"))
	})
}

func TestMissingRoutesDoNotHoldUpTheListener(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		c.subscribe(Routes, "missing")
		c.subscribe(Secret, "missing")
		c.quiet()
		time.Sleep(stall)
		c.ack(c.expectHosts())
		h.server.Update(testProxy, []Change{routes("missing", []*Part{part("x", "1")}), set(Secret, "missing", "1")})
		c.ack(c.expect("secret missing"))
		c.ack(c.expectHosts("x=1"))
	})
}

// TestSlowEnvoyIsNotFedTwice: endpoints are sent once more to clusters that are not warm after a while, but not to an
// Envoy that has not come to those that it was sent.
func TestSlowEnvoyIsNotFedTwice(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{set(Cluster, "c2", "1"), set(Endpoints, "c2", "1")})
		clusters := c.expect("cluster c2")
		endpoints := c.expect("endpoints c2")
		time.Sleep(10 * time.Second)
		c.quiet()
		c.ack(endpoints)
		time.Sleep(stall / 2)
		c.ack(clusters)
		time.Sleep(10 * time.Second)
		c.quiet()
	})
}

// TestClustersAreFedAgain: endpoints that change all the time do not keep a cluster that has lost its own from getting
// them.
func TestClustersAreFedAgain(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		h.server.Update(testProxy, []Change{set(Cluster, "c2", "1"), set(Endpoints, "c2", "1")})
		c.expect("cluster c2")
		c.ack(c.expect("endpoints c2"))
		again := false
		for i := 0; i < 20 && !again; i++ {
			time.Sleep(stall / 4)
			h.server.Update(testProxy, []Change{set(Endpoints, "c1", fmt.Sprint(i+2))})
			r := c.next()
			c.ack(r)
			for _, endpoints := range r.Resources {
				again = again || endpoints.Name == "c2"
			}
		}
		if !again {
			t.Error("c2 is not given its endpoints again")
		}
	})
}
