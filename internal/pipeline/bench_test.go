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

// appRoute is a route with a host and a Service of its own.
func appRoute(i int, path string) source.Object {
	name := fmt.Sprintf("app-%05d", i)
	r := route(name, name+".example.com", path, name)
	ref := &r.Object.(*gwv1.HTTPRoute).Spec.Rules[0].BackendRefs[0].BackendObjectReference
	ref.Group, ref.Kind, ref.Port = nil, nil, ptr[gwv1.PortNumber](80)
	return r
}

// apps are as many routes and their Services, and the Gateway that they are attached to.
func apps(routes int) []source.Object {
	objects := base()
	for i := range routes {
		objects = append(objects, service(fmt.Sprintf("app-%05d", i), fmt.Sprintf("10.%d.%d.1", i/250, i%250))...)
		objects = append(objects, appRoute(i, "/"))
	}
	return objects
}

// BenchmarkStart takes in many routes at once: what a route costs at the start, and how much of that stays.
func BenchmarkStart(b *testing.B) {
	const routes = 10_000
	objects := apps(routes)
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

// BenchmarkRouteEdit edits one of many routes of a host each, until that is live: all that a change costs but what the
// server does for each Envoy and the status that is written.
func BenchmarkRouteEdit(b *testing.B) {
	for _, routes := range []int{5_000, 50_000} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) { benchmarkRouteEdit(b, routes) })
	}
}

func benchmarkRouteEdit(b *testing.B, routes int) {
	var proxy model.ProxyName
	version := uint64(0)
	p := newPipeline(func(o *pipeline.Options) {
		o.Chain = all.ChainWith(all.Options{Pods: true})
		o.Serve = func(name model.ProxyName, _ []xds.Change) uint64 {
			proxy = name
			version++
			return version
		}
		o.Publish = func(pipeline.Status) {}
	})
	p.Apply(apps(routes), nil, nil)
	p.Observe(xds.Event{Kind: xds.Connected, Proxy: proxy})
	p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: version})
	b.ReportAllocs()
	b.ResetTimer()
	keys := 0
	for n := 0; b.Loop(); n++ {
		edit := appRoute(n%routes, fmt.Sprintf("/%d", n))
		keys += p.Apply([]source.Object{edit}, nil, nil).Result.Recomputed()
		p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: version})
	}
	b.ReportMetric(float64(keys)/float64(b.N), "keys/op")
}

// live is how many bytes of the heap are in use.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
