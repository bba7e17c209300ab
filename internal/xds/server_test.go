package xds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/model"
)

func TestA46StreamsAreAuthorized(t *testing.T) {
	for _, tt := range []struct {
		name      string
		node      *corev3.Node
		authorize func(context.Context, *corev3.Node) (model.ProxyName, error)
		want      codes.Code
	}{
		{name: "no node", want: codes.InvalidArgument},
		{name: "no authorization", node: &corev3.Node{Id: "n"}, want: codes.PermissionDenied},
		{
			name: "refused", node: &corev3.Node{Id: "n"}, want: codes.PermissionDenied,
			authorize: func(context.Context, *corev3.Node) (model.ProxyName, error) { return "", errors.New("not mine") },
		},
		{
			name: "refused with a code", node: &corev3.Node{Id: "n"}, want: codes.Unauthenticated,
			authorize: func(context.Context, *corev3.Node) (model.ProxyName, error) {
				return "", status.Error(codes.Unauthenticated, "who?")
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, time.Minute, func(h *harness) {
				h.server.options.Authorize = tt.authorize
				c := h.connect()
				c.first = false
				c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Cluster.URL(), Node: tt.node})
				synctest.Wait()
				if got := status.Code(c.end()); got != tt.want {
					t.Errorf("%v, want %v", c.end(), tt.want)
				}
			})
		})
	}
}

func TestA46StateOfTheWorldIsUnimplemented(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := h.connect()
		stream, err := c.service.StreamAggregatedResources(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("%v, want Unimplemented", err)
		}
	})
}

func TestUnknownProxyLeavesNoTrace(t *testing.T) {
	s := NewServer(Options{})
	if v, n := s.Live("x"); v != 0 || n != 0 || len(s.stores) != 0 {
		t.Errorf("Live = %d of %d, %d stores", v, n, len(s.stores))
	}
}

func TestSeveralEnvoys(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		var parts []*Part
		for i := range 3000 {
			parts = append(parts, part(fmt.Sprintf("host-%d", i), "a version that makes the table big enough to share"))
		}
		h.server.Update(testProxy, []Change{routes("r", parts), set(Listener, "r", "1")})
		a, b := newSim(h), newSim(h)
		a.settle(2 * time.Second)
		if live, n := h.server.Live(testProxy); live != 0 || n != 2 {
			t.Errorf("Live = %d of %d while one Envoy is silent, want 0 of 2", live, n)
		}
		b.settle(2 * time.Second)
		for _, e := range []*sim{a, b} {
			if got, want := len(e.has), 2+3000; got != want {
				t.Errorf("%d resources and parts, want %d", got, want)
			}
		}
		live := h.of(Live)
		if len(live) != 1 || live[0].Version != 1 || live[0].Took < 2*time.Second {
			t.Errorf("live events %+v, want one that took the time of the slow Envoy", live)
		}
		b.cancel()
		if len(h.of(Disconnected)) != 1 {
			t.Error("no event for the end of a stream")
		}
	})
}

func TestResponseIsADeltaDiscoveryResponse(t *testing.T) {
	c := set(Cluster, "c", "1")
	f := &flight{typ: Cluster, nonce: "7", version: 3, removed: []string{"x", "y"}}
	f.entries = append(f.entries, asIs("c", c.Resource, 1))
	big := entry{name: "shared", hash: 0xab, body: make([]byte, 300), shared: &assembly{}}
	f.entries = append(f.entries, big, asIs("c", c.Resource, 1))
	var got discoveryv3.DeltaDiscoveryResponse
	data := encode(f).data
	if err := proto.Unmarshal(data.Materialize(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Nonce != "7" || got.TypeUrl != Cluster.URL() || got.SystemVersionInfo != "3" ||
		len(got.Resources) != 3 || len(got.RemovedResources) != 2 {
		t.Fatalf("got %v", &got)
	}
	for i, e := range f.entries {
		r := got.Resources[i]
		if r.Name != e.name || parseVersion(r.Version) != e.hash || r.Resource.TypeUrl != Cluster.URL() ||
			string(r.Resource.Value) != string(e.body) {
			t.Errorf("resource %d is %v", i, r)
		}
	}
	if parseVersion("nothing of ours") != 0 {
		t.Error("a version that is not a hash has one")
	}
}

// TestLargeResponse says that a response larger than the pool's buffers is in several, and whole.
func TestLargeResponse(t *testing.T) {
	var parts []*Part
	for i := range 300 {
		parts = append(parts, &Part{
			Name: fmt.Sprint(i), Hash: uint64(i), Body: bytes.Repeat([]byte{byte(i)}, 10_000+i), //nolint:gosec // below 300
		})
	}
	parts[7].Body = make([]byte, 3*pieceSize)
	e := entry{name: "r", body: []byte("body"), parts: NewParts(parts), tail: []byte("tail")}
	var want []byte
	e.pieces(func(b []byte) { want = append(want, b...) })
	data := encode(&flight{typ: Routes, nonce: "1", entries: []entry{e}}).data
	var got discoveryv3.DeltaDiscoveryResponse
	if err := proto.Unmarshal(data.Materialize(), &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Resources[0].Resource.Value, want) {
		t.Errorf("%d bytes, want %d", len(got.Resources[0].Resource.Value), len(want))
	}
	for i, b := range data {
		if b.Len() > pieceSize && b.Len() < 3*pieceSize {
			t.Errorf("buffer %d has %d bytes", i, b.Len())
		}
	}
	data.Free()
}

// BenchmarkOnePart is the whole of the work for one changed virtual host of many and one Envoy: the update, the
// response, and the ACK.
func BenchmarkOnePart(b *testing.B) {
	for _, n := range []int{5000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkOnePart(b, n) })
	}
}

func benchmarkOnePart(b *testing.B, count int) {
	s := NewServer(Options{})
	parts := make([]*Part, count)
	for i := range parts {
		parts[i] = realPart(fmt.Sprintf("host-%d.example.com", i), fmt.Sprintf("service/default/backend-%d/80", i), "")
		parts[i].Needs = nil // that these are warm is not what is measured
	}
	old := routes("r", parts)
	s.Update(testProxy, []Change{old})
	st := s.store(testProxy)
	stream := newStream(st, &corev3.Node{Id: "n"})
	st.connect(stream)
	// settle has Envoy take everything that it is sent, and returns how much that is.
	settle := func(flights []*flight) (sent int) {
		for len(flights) > 0 {
			f := flights[0]
			encode(f).data.Free()
			sent += f.bytes
			next, _ := stream.step(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: f.url(), ResponseNonce: f.nonce})
			flights = append(flights[1:], next...)
		}
		return sent
	}
	for _, q := range []*discoveryv3.DeltaDiscoveryRequest{
		{TypeUrl: Cluster.URL()}, {TypeUrl: Listener.URL()},
		{TypeUrl: Routes.URL(), ResourceNamesSubscribe: []string{"r"}}, {TypeUrl: hostsURL},
	} {
		flights, _ := stream.step(q)
		settle(flights)
	}
	var changes [2][]Change
	for i := range changes {
		other := realPart(parts[77].Name, fmt.Sprintf("service/default/other-%d/80", i), "")
		other.Needs = nil
		changes[i] = []Change{routesOf("r", old.Resource.Parts.Map(func(p *Part) *Part {
			if p == parts[77] {
				return other
			}
			return p
		}), other.Name)}
	}
	b.ReportAllocs()
	n := 0
	for i := 0; b.Loop(); i++ {
		s.Update(testProxy, changes[i%2])
		flights, _ := stream.step(nil)
		if n = settle(flights); n == 0 {
			b.Fatal("nothing was sent")
		}
	}
	b.ReportMetric(float64(n), "wire-B/op")
}

// TestPanicEndsOnlyItsStream has the handler of one stream panic while another Envoy is served.
func TestPanicEndsOnlyItsStream(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		authorize := h.server.options.Authorize
		h.server.options.Authorize = func(ctx context.Context, node *corev3.Node) (model.ProxyName, error) {
			if node.GetId() == "panic" {
				panic("no such thing")
			}
			return authorize(ctx, node)
		}
		h.server.Update(testProxy, []Change{set(Cluster, "a", "1")})
		served := h.connect()
		served.subscribe(Cluster)
		served.ack(served.expect("cluster a"))
		c := h.connect()
		c.first = false
		c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Cluster.URL(), Node: &corev3.Node{Id: "panic"}})
		if got := status.Code(c.end()); got != codes.Internal {
			t.Errorf("the stream ended with %v, want Internal", c.end())
		}
		failed := h.of(Failed)
		if len(failed) != 1 || failed[0].Node != "panic" || !strings.Contains(failed[0].Message, "server_test.go") {
			t.Errorf("events %+v, want one with the stack", failed)
		}
		h.server.Update(testProxy, []Change{set(Cluster, "b", "1")})
		served.expect("cluster b")
	})
}
