package translation

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// BenchmarkEdit edits one cluster of 5,000 of which a server changes each: what an edit costs with the hook, besides
// what the server itself does.
func BenchmarkEdit(b *testing.B) {
	const clusters = 5000
	var asked model.Call
	var spent time.Duration
	p := New("p", []model.ExtensionManager{{
		Name: "x", Hooks: []model.Hook{model.HookTranslation}, Translation: model.TranslationScope{Clusters: true},
	}}, func(call model.Call, wanted bool) {
		if wanted {
			asked = call
		}
	})
	var changes []xds.Change
	for i := range clusters {
		c := benchCluster(b, i, 5*time.Second)
		changes = append(changes, c, xds.Change{
			Type: xds.Endpoints, Name: c.Name, Resource: &xds.Resource{Name: c.Name, Hash: 1},
		})
	}
	p.Learn(changes)
	p.Reach(nil, true)
	p.Changes(changes)
	p.Advance()
	answer := func() {
		var q pb.PostTranslateModifyRequest
		if err := proto.Unmarshal([]byte(asked.Spec().Request), &q); err != nil {
			b.Fatal(err)
		}
		for _, c := range q.GetClusters() {
			c.AltStatName = "changed"
		}
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.PostTranslateModifyResponse{
			Clusters: q.GetClusters(),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := cpu(b)
		p.Answered(asked, Read(model.Answer{Data: data}))
		spent += cpu(b) - began
	}
	b.StopTimer()
	answer()
	p.Changes(nil)
	b.ResetTimer()
	spent = 0
	for i := range b.N {
		edit := []xds.Change{benchCluster(b, i%clusters, time.Duration(i+1)*time.Millisecond)}
		began := cpu(b)
		p.Learn(edit)
		p.Changes(edit)
		p.Advance()
		spent += cpu(b) - began
		b.StopTimer()
		answer()
		began = cpu(b)
		got := p.Changes(nil)
		if spent += cpu(b) - began; len(got) != 1 {
			b.Fatalf("%d changes for one edit", len(got))
		}
	}
	b.ReportMetric(float64(spent.Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(len(asked.Spec().Request)), "B/request")
}

// cpu is the time that the process has had of processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchCluster is a cluster of the size of those that Sluice makes.
func benchCluster(b *testing.B, i int, timeout time.Duration) xds.Change {
	b.Helper()
	r, err := envoy.Made(xds.Cluster, &clusterv3.Cluster{
		Name: fmt.Sprintf("service/namespace-%d/application-%d/8080", i%100, i), ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(time.Second),
		}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(32 << 10), LbPolicy: clusterv3.Cluster_LEAST_REQUEST,
		IgnoreHealthOnHostRemoval: true,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxRetries: wrapperspb.UInt32(1024),
		}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return xds.Change{Type: xds.Cluster, Name: r.Name, Resource: r}
}
