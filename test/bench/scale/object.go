package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// namespaces is how many the objects are spread over.
const namespaces = 500

var (
	namespaceResource   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceResource     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	secretResource      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	sliceResource       = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	classResource       = gatewayAPI("gatewayclasses")
	gatewayResource     = gatewayAPI("gateways")
	routeResource       = gatewayAPI("httproutes")
	listenerSetResource = gatewayAPI("listenersets")
)

var crdResource = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

func gatewayAPI(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: plural}
}

// object is what is created, and where.
type object struct {
	resource schema.GroupVersionResource
	unstructured.Unstructured
}

// fields are those of an object, or a part of one.
type fields = map[string]any

func newObject(resource schema.GroupVersionResource, kind, namespace, name string, rest fields) object {
	meta := fields{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	content := fields{"apiVersion": resource.GroupVersion().String(), "kind": kind, "metadata": meta}
	for field, value := range rest {
		content[field] = value
	}
	return object{resource, unstructured.Unstructured{Object: content}}
}

func namespaceOf(i int) string { return fmt.Sprintf("team-%03d", i%namespaces) }

func appName(i int) string { return fmt.Sprintf("app-%05d", i) }

func hostOf(i int) string { return appName(i) + ".example.com" }

// pathOf is where a route is after k changes.
func pathOf(k int) string { return fmt.Sprintf("/path-%d", k) }

// backendAddress is that of the only endpoint of a Service, one of 130,000 of the namespace's own.
func backendAddress(i int) string {
	return fmt.Sprintf("198.%d.%d.%d", 18+i/65_000, 1+i%65_000/250, 1+i%250)
}

// gatewayNamespace has the Gateways.
const gatewayNamespace = "infra"

func gateway(name string, listeners ...any) object {
	all := fields{"namespaces": fields{"from": "All"}}
	return newObject(gatewayResource, "Gateway", gatewayNamespace, name, fields{"spec": fields{
		"gatewayClassName": className, "listeners": listeners, "allowedListeners": all,
	}})
}

func httpListener(port int) fields {
	return fields{
		"name": "http", "port": int64(port), "protocol": "HTTP",
		"allowedRoutes": fields{"namespaces": fields{"from": "All"}},
	}
}

func service(i int) object {
	return newObject(serviceResource, "Service", namespaceOf(i), appName(i), fields{"spec": fields{
		"clusterIP": "None", "ports": []any{fields{"port": int64(80)}},
	}})
}

// slice is an EndpointSlice of a Service.
func slice(i, part, port int, addresses ...string) object {
	endpoints := make([]any, 0, len(addresses))
	for _, address := range addresses {
		endpoints = append(endpoints, fields{"addresses": []any{address}, "conditions": fields{"ready": true}})
	}
	name := fmt.Sprintf("%s-%d", appName(i), part)
	o := newObject(sliceResource, "EndpointSlice", namespaceOf(i), name, fields{
		"addressType": "IPv4", "endpoints": endpoints,
		"ports": []any{fields{"port": int64(port), "protocol": "TCP", "name": ""}},
	})
	o.SetLabels(map[string]string{
		"kubernetes.io/service-name": appName(i), "endpointslice.kubernetes.io/managed-by": "bench.sluice.dev",
	})
	return o
}

// route is the HTTPRoute of a host of its own to the Service of the same number.
func route(i int, path string, parent fields) object { return routeOf(i, i, hostOf(i), path, parent) }

// routeOf is an HTTPRoute for a path of a host, to the Service of a number.
func routeOf(i, service int, host, path string, parent fields) object {
	return newObject(routeResource, "HTTPRoute", namespaceOf(service), appName(i), fields{"spec": fields{
		"parentRefs": []any{parent},
		"hostnames":  []any{host},
		"rules": []any{fields{
			"matches":     []any{fields{"path": fields{"type": "PathPrefix", "value": path}}},
			"backendRefs": []any{fields{"name": appName(service), "port": int64(80)}},
		}},
	}})
}

func gatewayParent(name string) fields { return fields{"name": name, "namespace": gatewayNamespace} }
