package xds

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A connection ends at the age that it may have, give or take a tenth, and what it has to go; without one it lives on.
func TestMaxConnectionAge(t *testing.T) {
	for age, ends := range map[time.Duration]bool{0: false, time.Hour: true} {
		bubbleWith(t, Options{}, Connection{MaxAge: age, AgeGrace: time.Minute}, func(h *harness) {
			c := h.connect()
			c.subscribe(Cluster, "*")
			time.Sleep(50 * time.Minute)
			synctest.Wait()
			if c.end() != nil {
				t.Fatalf("age %s: it ends early: %v", age, c.end())
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			if ended := c.end() != nil; ended != ends {
				t.Errorf("age %s: the stream has ended: %v (%v), want %v", age, ended, c.end(), ends)
			}
		})
	}
}

// A request that is larger than allowed ends its stream.
func TestMaxRequest(t *testing.T) {
	for most, want := range map[int]codes.Code{0: codes.OK, 1 << 10: codes.ResourceExhausted} {
		bubbleWith(t, Options{}, Connection{MaxRequest: most}, func(h *harness) {
			c := h.connect()
			c.send(&discoveryv3.DeltaDiscoveryRequest{
				TypeUrl: Cluster.URL(), ResourceNamesSubscribe: []string{strings.Repeat("x", 2<<10)},
			})
			if got := status.Code(c.end()); got != want {
				t.Errorf("at most %d bytes: %v, want %s", most, c.end(), want)
			}
		})
	}
}
