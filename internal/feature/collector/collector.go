// Package collector is what the features that report to a service have in common: access logs, traces and metrics of
// an EnvoyProxy (BackendCluster of Envoy Gateway).
//
// A report goes to one backend, with the settings of backendSettings. A service that speaks gRPC is spoken to over
// HTTP/2 whatever its Service says.
package collector

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	detectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Address is where a collector is by the deprecated fields host and port, which hold when there are no backendRefs.
type Address struct {
	Host *string
	Port int32
}

// defaultPort is that of OTLP over gRPC, which the schemas have as the default.
const defaultPort = 4317

// url returns the address as that of a server, empty if there is none.
func (a Address) url() string {
	if a.Host == nil {
		return ""
	}
	port := a.Port
	if port == 0 {
		port = defaultPort
	}
	return "http://" + net.JoinHostPort(*a.Host, strconv.Itoa(int(port)))
}

// Reference returns the reference to the backend of a cluster that is written at a path, or to an address in its place,
// nil if it has neither.
func Reference(c *egv1a1.BackendCluster, at Address, path string, use model.AppProtocol) *resolve.Reference {
	if len(c.BackendRefs) == 0 {
		if at.Host == nil {
			return nil
		}
		return &resolve.Reference{Path: path + ".host", URL: at.url(), Use: use, Settings: c.BackendSettings}
	}
	return &resolve.Reference{
		Path: path + ".backendRefs[0]", Backend: &c.BackendRefs[0].BackendObjectReference, Use: use,
		Settings: c.BackendSettings,
	}
}

// Check refuses clusters of none or of several backends, and addresses that are none.
func Check(r *policy.Refusals, path string, c *egv1a1.BackendCluster, at Address) {
	//lint:ignore SA1019 deprecated, but part of the API
	if c.BackendRef != nil {
		r.Add(path+".backendRef", "The field is deprecated: use backendRefs")
	}
	switch n := len(c.BackendRefs); {
	case n == 0 && at.Host == nil:
		r.Add(path+".backendRefs", "There is nobody to report to: name a backend")
	case n == 0:
		if _, ok := model.Server(at.url()); !ok {
			r.Add(path+".host", "%q is no host name or IP address: write it like collector.example, without scheme and port",
				*at.Host)
		}
	case n > 1:
		r.Add(path+".backendRefs", "There are %d backends, and reports go to one: keep one, which can have several "+
			"endpoints", n)
	case n == 1:
		checkOnly(r, path+".backendRefs[0]", &c.BackendRefs[0])
	}
	if s := c.BackendSettings; s != nil && s.Retry != nil {
		r.Add(path+".backendSettings.retry", "Reports are not sent again: remove it")
	}
}

// checkOnly refuses what means something only among several backends.
func checkOnly(r *policy.Refusals, path string, ref *egv1a1.BackendRef) {
	if policy.Or(ref.Weight, 1) == 0 {
		r.Add(path+".weight", "The only backend has a weight of 0, with which it would get nothing: remove it")
	}
	if policy.Or(ref.Fallback, false) {
		r.Add(path+".fallback", "There is no other backend that it could be a fallback for: remove it")
	}
}

// CheckHeaders refuses headers that Envoy cannot send with reports.
func CheckHeaders(r *policy.Refusals, path string, headers []gwv1.HTTPHeader) {
	for i, h := range headers {
		if err := header.CheckMutable(string(h.Name)); err != nil {
			r.Add(fmt.Sprintf("%s[%d].name", path, i), "Invalid header: %v", err)
		}
		// Envoy reads these values as formats and knows no way to write a percent sign in them.
		if strings.ContainsFunc(h.Value, func(c rune) bool { return c < ' ' || c == 0x7f || c == '%' }) {
			r.Add(fmt.Sprintf("%s[%d].value", path, i),
				"The value has a percent sign or control characters, which Envoy cannot send: remove them")
		}
	}
}

// GRPC is a backend as a gRPC service. The headers are sent with each report (initial_metadata).
func GRPC(cluster string, backend model.BackendKey, headers []gwv1.HTTPHeader) *corev3.GrpcService {
	out := &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
		ClusterName: cluster, Authority: backend.Authority(),
	}}}
	for _, h := range headers {
		out.InitialMetadata = append(out.InitialMetadata, &corev3.HeaderValue{
			Key: strings.ToLower(string(h.Name)), Value: h.Value,
		})
	}
	return out
}

// Resource is what describes the source of reports: resource attributes that are fixed; nil if there are none.
func Resource(attributes map[string]string) []*corev3.TypedExtensionConfig {
	if len(attributes) == 0 {
		return nil
	}
	return []*corev3.TypedExtensionConfig{{
		Name: "envoy.tracers.opentelemetry.resource_detectors.static_config",
		TypedConfig: feature.Pack(&detectorv3.StaticConfigResourceDetectorConfig{
			Attributes: maps.Clone(attributes),
		}),
	}}
}

// CheckResource refuses attributes without a name, with which Envoy would refuse all of them.
func CheckResource(r *policy.Refusals, path string, attributes map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		if key == "" {
			r.Add(path, "An attribute has no name: give it one")
		}
	}
}
