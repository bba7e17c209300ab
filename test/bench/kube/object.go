package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gateway/sluice/test/cluster"
)

// backendIP is where the backends listen: the control plane's network, which all pods reach.
const backendIP = cluster.ControlIP

const (
	gatewayName = "bench"
	gatewayPort = 80
)

var (
	namespaceResource   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	podResource         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	serviceResource     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	sliceResource       = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	gatewayResource     = gatewayAPI("gateways")
	routeResource       = gatewayAPI("httproutes")
	listenerSetResource = gatewayAPI("listenersets")
)

func gatewayAPI(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: plural}
}

// object is what is applied, and where.
type object struct {
	resource schema.GroupVersionResource
	unstructured.Unstructured
}

func newObject(resource schema.GroupVersionResource, kind, name string, fields map[string]any) object {
	content := map[string]any{
		"apiVersion": resource.GroupVersion().String(), "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": namespace},
	}
	for field, value := range fields {
		content[field] = value
	}
	return object{resource, unstructured.Unstructured{Object: content}}
}

func namespaceObject(name string) object {
	return object{namespaceResource, unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}}
}

func gateway(class string) object {
	return newObject(gatewayResource, "Gateway", gatewayName, map[string]any{"spec": map[string]any{
		"gatewayClassName": class,
		"listeners": []any{map[string]any{
			"name": "http", "port": int64(gatewayPort), "protocol": "HTTP",
			"allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "All"}},
		}},
		"allowedListeners": map[string]any{"namespaces": map[string]any{"from": "All"}},
	}})
}

func name(i int) string { return fmt.Sprintf("app-%05d", i) }

func host(i int) string { return name(i) + ".example.com" }

// path is where a route is after k changes.
func path(k int) string { return fmt.Sprintf("/path-%d", k) }

// service is headless and without a selector: thousands of addresses would keep kube-proxy busy with what nobody uses,
// and the EndpointSlices are the benchmark's own.
func service(name string) object {
	return newObject(serviceResource, "Service", name, map[string]any{"spec": map[string]any{
		"clusterIP": "None", "ports": []any{map[string]any{"port": int64(80)}},
	}})
}

// endpoint is an EndpointSlice with one of the backends. A slice has one port for all its addresses, so a Service with
// several backends has a slice for each.
func endpoint(slice, service string, port int, ready bool) object {
	o := newObject(sliceResource, "EndpointSlice", slice, map[string]any{
		"addressType": "IPv4",
		"ports":       []any{map[string]any{"port": int64(port), "protocol": "TCP", "name": ""}},
		"endpoints": []any{map[string]any{
			"addresses": []any{backendIP}, "conditions": map[string]any{"ready": ready},
		}},
	})
	o.SetLabels(map[string]string{
		"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench.sluice.dev",
	})
	return o
}

func route(i int, path string) object {
	return routeTo(name(i), host(i), path, gatewayParent(), name(i))
}

func gatewayParent() map[string]any { return map[string]any{"name": gatewayName} }

func routeTo(name, host, path string, parent map[string]any, backend string) object {
	return newObject(routeResource, "HTTPRoute", name, map[string]any{"spec": map[string]any{
		"parentRefs": []any{parent},
		"hostnames":  []any{host},
		"rules": []any{map[string]any{
			"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": path}}},
			"backendRefs": []any{map[string]any{"name": backend, "port": int64(80)}},
		}},
	}})
}
