package xds

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// TestStreamIsSmall says that what is kept of each Envoy is small beside the configuration that all share: of a route,
// a cluster and its endpoints, each by a name that Envoy sends as bytes of its own.
func TestStreamIsSmall(t *testing.T) {
	const count, envoys, most = 2000, 20, 260
	s := NewServer(Options{})
	var changes []Change
	var names []string
	var parts []*Part
	for i := range count {
		name := fmt.Sprintf("service/namespace-%d/app-%d/80", i%50, i)
		names = append(names, name)
		changes = append(changes, set(Cluster, name, "1"), set(Endpoints, name, "1"))
		parts = append(parts, realPart(fmt.Sprintf("host-%d.example.com", i), name, ""))
	}
	s.Update(testProxy, append(changes, routes("r", parts), set(Listener, "l", "1")))
	st := s.store(testProxy)
	streams := make([]*stream, envoys)
	before := liveHeap()
	for i := range streams {
		streams[i] = newStream(st, &corev3.Node{Id: fmt.Sprint(i)})
		st.connect(streams[i])
		said := make([]string, count)
		for j, name := range names {
			said[j] = strings.Clone(name)
		}
		for _, req := range []*discoveryv3.DeltaDiscoveryRequest{
			{TypeUrl: Cluster.URL()}, {TypeUrl: Endpoints.URL(), ResourceNamesSubscribe: said}, {TypeUrl: Listener.URL()},
			{TypeUrl: Routes.URL(), ResourceNamesSubscribe: []string{"r"}}, {TypeUrl: hostsURL},
		} {
			flights, _ := streams[i].step(req)
			for len(flights) > 0 {
				f := flights[0]
				more, _ := streams[i].step(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: f.url(), ResponseNonce: f.nonce})
				flights = append(flights[1:], more...)
			}
		}
	}
	if got := (liveHeap() - before) / (count * envoys); got > most {
		t.Errorf("%d bytes for each route and Envoy, want at most %d", got, most)
	}
	for _, stream := range streams {
		if has := stream.tables["r"].parts().Len(); has != count {
			t.Errorf("an Envoy has %d routes", has)
		}
	}
}

// liveHeap is how many bytes are in use.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
