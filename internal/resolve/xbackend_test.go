package resolve

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// A Pod takes requests when the EndpointSlice controller would say that it is ready; one that is shutting down but
// still answers is a last resort.
func TestPodView(t *testing.T) {
	ready := func(status corev1.ConditionStatus) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	}
	gone := &metav1.Time{Time: time.Unix(1, 0)}
	both := []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}
	tests := []struct {
		name string
		pod  corev1.Pod
		want pod
	}{
		{"written in a file", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1"}},
			pod{Addresses: []string{"10.0.0.1"}, Ready: true}},
		{"of two families", corev1.Pod{Status: corev1.PodStatus{PodIPs: both, Conditions: ready("True")}},
			pod{Addresses: []string{"10.0.0.1"}, Ready: true}},
		{"not scheduled", corev1.Pod{}, pod{Ready: true}},
		{"not ready", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1", Conditions: ready("False")}},
			pod{Addresses: []string{"10.0.0.1"}}},
		{"done", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodSucceeded}},
			pod{Addresses: []string{"10.0.0.1"}}},
		{"shutting down", corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: gone},
			Status:     corev1.PodStatus{PodIP: "10.0.0.1", Conditions: ready("True")},
		}, pod{Addresses: []string{"10.0.0.1"}, Draining: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(&tt.want, podView(&tt.pod)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What an XBackend asks for and cannot get is refused with a reason, in its own status and, as an unusable backend, in
// that of the route.
func TestXBackendProblems(t *testing.T) {
	tests := []struct{ name, spec, want string }{
		{"usable", "type: ExternalHostname, externalHostname: {hostname: a.example}, port: {number: 80}", ""},
		{"an address", "type: ExternalHostname, externalHostname: {hostname: 10.0.0.1}, port: {number: 80}",
			"is an IP address"},
		{"the proxy itself", "type: ExternalHostname, externalHostname: {hostname: localhost}, port: {number: 80}",
			"own machine"},
		{"a protocol", "type: EndpointSelector, endpointSelector: {matchLabels: {a: b}}, port: {number: 80}, protocol: MCP",
			"MCP is not supported"},
		{"TCP for HTTP", "type: EndpointSelector, endpointSelector: {matchLabels: {a: b}}, port: {number: 80}, protocol: TCP",
			"use it in a TCPRoute"},
		{"TLS", "type: ExternalHostname, externalHostname: {hostname: a.example}, port: {number: 443}, " +
			"tls: {mode: ServerOnly, validation: {hostname: a.example, wellKnownCACertificates: System}}",
			"There are no CA certificates on the proxy's system"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "",
				"{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: b}]}"), `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: b, namespace: default}
spec: {`+tt.spec+`}
`)
			key := model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "default", Name: "r"}}
			route, _ := w.Tables.Routes.Peek(key)
			if got := route.Report.Message(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("the route says %q, want %q", got, tt.want)
			}
			st, ok := w.Tables.XBackendStatus.Peek(model.Name{Namespace: "default", Name: "b"})
			if !ok || len(st.Ancestors) != 1 || st.Ancestors[0].AncestorRef.Name != "gw" {
				t.Errorf("the status is %+v, want one of the Gateway", st)
			}
		})
	}
}
