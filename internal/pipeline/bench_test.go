package pipeline_test

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// service is a Service with one endpoint.
func service(name, address string) []source.Object {
	port := discoveryv1.EndpointPort{Name: ptr(""), Port: ptr[int32](8080), Protocol: ptr(corev1.ProtocolTCP)}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta(name + "-1"), AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{port},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	return []source.Object{
		{Ref: refOf(model.GroupCore, model.KindService, name), Object: &corev1.Service{
			ObjectMeta: meta(name),
			Spec: corev1.ServiceSpec{
				ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
			},
		}},
		{Ref: refOf(model.GroupDiscovery, model.KindEndpointSlice, slice.Name), Object: slice},
	}
}

// BenchmarkStart takes in many routes at once, each with a host and a Service of its own: what a route costs at the
// start, and how much of that stays.
func BenchmarkStart(b *testing.B) {
	const routes = 10_000
	objects := base()
	for i := range routes {
		name := fmt.Sprintf("app-%05d", i)
		objects = append(objects, service(name, fmt.Sprintf("10.%d.%d.1", i/250, i%250))...)
		r := route(name, name+".example.com", "/", name)
		ref := &r.Object.(*gwv1.HTTPRoute).Spec.Rules[0].BackendRefs[0].BackendObjectReference
		ref.Group, ref.Kind, ref.Port = nil, nil, ptr[gwv1.PortNumber](80)
		objects = append(objects, r)
	}
	b.ReportAllocs()
	keys, kept := 0, uint64(0)
	for b.Loop() {
		before := live()
		p := newPipeline(func(o *pipeline.Options) {
			o.Chain = all.ChainWith(all.Options{Pods: true})
			o.Serve = func(model.ProxyName, []xds.Change) uint64 { return 1 }
		})
		keys += p.Apply(objects, nil, nil).Result.Recomputed()
		kept += live() - before
		runtime.KeepAlive(p)
	}
	each := float64(b.N * routes)
	b.ReportMetric(float64(keys)/each, "keys/route")
	b.ReportMetric(float64(kept)/each, "kept-B/route")
}

// live is how many bytes of the heap are in use.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
