package resolve

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// xbackend is what routes and backends need to know of an XBackend (Gateway API: GEP-4894).
type xbackend struct {
	// Report is why it cannot be used; empty if it can.
	Report   status.Report
	Protocol model.AppProtocol
	Port     uint16
	// TCP says that nothing is known of what is spoken but that it goes over TCP.
	TCP bool
	// Hostname is that of the type ExternalHostname, empty for EndpointSelector.
	Hostname string
	// Labels are the labels that a Pod must have, sorted; never empty for EndpointSelector.
	Labels []label
	// Attached is what the XBackend asks of features for every route that leads to it.
	Attached []model.Attached
}

// label is one label of an object.
type label struct {
	Key, Value string
}

// labelKey is a label in a namespace.
type labelKey struct {
	Namespace string
	label
}

// Compare orders by namespace, key and value.
func (k labelKey) Compare(o labelKey) int {
	return cmp.Or(strings.Compare(k.Namespace, o.Namespace), k.label.compare(o.label))
}

func (l label) compare(o label) int {
	return cmp.Or(strings.Compare(l.Key, o.Key), strings.Compare(l.Value, o.Value))
}

// pod is what backends need to know of a Pod: without it, every heartbeat of a container would reach them.
type pod struct {
	Labels    map[string]string
	Addresses []string
	// Ready Pods take requests. Draining ones are shutting down and take them only if there is no other.
	Ready, Draining bool
}

// addXBackends adds the views of XBackends, and of the Pods that they select: a Pod is looked up by one of its labels,
// so that a new one reaches only the backends that have that label in their selector.
func (t *Tables) addXBackends(e *incr.Engine) {
	t.xbackends = incr.NewTable(e, "xbackend objects", t.xbackend, t.in.xbackends)
	t.pods = incr.NewTable(e, "pod addresses", func(r *incr.Reader, key model.Name) (*pod, bool) {
		p, ok := incr.Get(r, t.in.pods, key)
		if !ok {
			return nil, false
		}
		return podView(p), true
	}, t.in.pods)
	t.podLabels = incr.NewIndex(e, "pods by label", t.pods, func(key model.Name, p *pod) []labelKey {
		out := make([]labelKey, 0, len(p.Labels))
		for k, v := range p.Labels {
			out = append(out, labelKey{Namespace: key.Namespace, label: label{Key: k, Value: v}})
		}
		slices.SortFunc(out, labelKey.Compare)
		return out
	})
}

// podView reads a Pod as the EndpointSlice controller does. A Pod without a condition Ready, as people write it in
// files, is ready.
func podView(p *corev1.Pod) *pod {
	out := &pod{Labels: p.Labels}
	ready := true
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			ready = c.Status == corev1.ConditionTrue
		}
	}
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	out.Ready = ready && !over && p.DeletionTimestamp == nil
	out.Draining = ready && !over && p.DeletionTimestamp != nil
	ips := p.Status.PodIPs
	if len(ips) == 0 && p.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	// A Pod with two addresses is one endpoint: its first is the one of the cluster's own address family.
	if len(ips) > 0 {
		if ip, err := netip.ParseAddr(ips[0].IP); err == nil {
			out.Addresses = []string{ip.Unmap().String()}
		}
	}
	return out
}

func (t *Tables) xbackend(r *incr.Reader, key model.Name) (*xbackend, bool) {
	b, ok := incr.Get(r, t.in.xbackends, key)
	if !ok {
		return nil, false
	}
	out := &xbackend{Port: uint16(b.Spec.Port.Number)} //nolint:gosec // 1 to 65535 by its schema
	refuse := func(path, format string, args ...any) {
		out.Report = append(out.Report, status.Issue{
			Object: xbackendRef(key), Condition: status.Accepted, Reason: status.ReasonUnsupportedValue,
			Path: path, Message: fmt.Sprintf(format, args...),
		})
	}
	if out.Port == 0 {
		refuse("spec.port.number", "The port is missing: give its number")
	}
	t.destination(b, out, refuse)
	if p := deref(b.Spec.Protocol, ""); p == gwxv1a1.BackendProtocolTCP {
		out.TCP = true
	} else if p != "" {
		out.Protocol, ok = xProtocols[p]
		if !ok {
			refuse("spec.protocol", "Protocol %s is not supported: use HTTP, HTTP11, HTTP2, H2C, GRPC, WSS or TCP", p)
		}
	}
	if b.Spec.SessionPersistence != nil {
		out.Attached = []model.Attached{{
			Feature: "SessionPersistence", Spec: b.Spec.SessionPersistence, Path: "spec.sessionPersistence",
			Source: xbackendRef(key),
		}}
	}
	if t.opts.CheckAttached != nil {
		for _, issue := range t.opts.CheckAttached(out.Attached) {
			refuse(issue.Path, "%s", issue.Message)
		}
	}
	return out, true
}

// xProtocols are the protocols of an XBackend that Envoy can be told to speak.
var xProtocols = map[gwxv1a1.BackendProtocol]model.AppProtocol{
	gwxv1a1.BackendProtocolHTTP: model.AppHTTP, gwxv1a1.BackendProtocolHTTP11: model.AppHTTP,
	gwxv1a1.BackendProtocolHTTP2: model.AppH2C, gwxv1a1.BackendProtocolH2C: model.AppH2C,
	gwxv1a1.BackendProtocolGRPC: model.AppGRPC, gwxv1a1.BackendProtocolWSS: model.AppWS,
}

// destination reads where the backend is.
func (t *Tables) destination(b *gwxv1a1.XBackend, out *xbackend, refuse func(path, format string, args ...any)) {
	switch {
	case b.Spec.ExternalHostname != nil:
		const path = "spec.externalHostname.hostname"
		out.Hostname = strings.TrimSuffix(strings.ToLower(string(b.Spec.ExternalHostname.Hostname)), ".")
		_, err := netip.ParseAddr(out.Hostname)
		switch {
		case err == nil:
			refuse(path, "%q is an IP address: use a host name, or a Backend of group %s", out.Hostname,
				model.GroupEnvoyGateway)
		case localHost(out.Hostname) && !t.opts.LocalBackends:
			refuse(path, "The proxy's own machine cannot be a backend")
		case strings.HasSuffix(out.Hostname, ".cluster.local"):
			refuse(path, "%q is inside of the cluster: use its Service", out.Hostname)
		}
	case b.Spec.EndpointSelector != nil && len(b.Spec.EndpointSelector.MatchLabels) > 0:
		for k, v := range b.Spec.EndpointSelector.MatchLabels {
			out.Labels = append(out.Labels, label{Key: string(k), Value: string(v)})
		}
		slices.SortFunc(out.Labels, label.compare)
	default:
		refuse("spec", "The backend is nowhere: set externalHostname or endpointSelector, as type says")
	}
}

// endpointsOf returns the endpoints of an XBackend that can be used.
func (t *Tables) endpointsOf(r *incr.Reader, name model.Name, b *xbackend) []model.Endpoint {
	if b.Hostname != "" {
		return []model.Endpoint{{Address: b.Hostname, Port: b.Port, Hostname: b.Hostname}}
	}
	var ready, draining []model.Endpoint
	for _, p := range t.podLabels.Values(r, labelKey{Namespace: name.Namespace, label: b.Labels[0]}) {
		if !p.has(b.Labels) {
			continue
		}
		for _, address := range p.Addresses {
			switch {
			case p.Ready:
				ready = append(ready, model.Endpoint{Address: address, Port: b.Port})
			case p.Draining:
				draining = append(draining, model.Endpoint{Address: address, Port: b.Port, Draining: true})
			}
		}
	}
	// When everything is shutting down, what still serves is better than an error.
	if len(ready) == 0 {
		ready = draining
	}
	return ready
}

func (p *pod) has(labels []label) bool {
	return !slices.ContainsFunc(labels, func(l label) bool {
		value, ok := p.Labels[l.Key]
		return !ok || value != l.Value
	})
}

// checkXBackend returns why an XBackend cannot be used, or no reason.
func (t *Tables) checkXBackend(r *incr.Reader, from model.Ref, key model.BackendKey) (reason, message string) {
	b, ok := incr.Get(r, t.xbackends, key.Name)
	if !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", key.Ref())
	}
	report := b.Report
	if secured := t.guarded(r, key); secured.Own && secured.Broken {
		report = slices.Concat(report, t.tlsReport(r, key))
	}
	if len(report) > 0 {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s is not valid: %s", key.Ref(), report.Message())
	}
	switch _, fits := appProtocol(b.Protocol, key.Use); {
	case isStream(from.Kind) && (key.Use != model.AppUDP || b.Hostname == ""):
	case isStream(from.Kind):
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"%s is a host name: UDP can be sent to nothing but IP addresses", key.Ref())
	case b.TCP:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The protocol of %s is TCP: use it in a TCPRoute or TLSRoute", key.Ref())
	case !fits:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf("The protocol of %s cannot carry gRPC", key.Ref())
	}
	return "", ""
}

func xbackendRef(name model.Name) model.Ref {
	return model.BackendKey{Kind: model.KindXBackend, Name: name}.Ref()
}

// xbackendStatus reports an XBackend to each Gateway whose routes lead to it.
func (t *Tables) xbackendStatus(r *incr.Reader, key model.Name) (gwxv1a1.BackendStatus, bool) {
	view, ok := incr.Get(r, t.xbackends, key)
	if !ok {
		return gwxv1a1.BackendStatus{}, false
	}
	b, _ := incr.Get(r, t.in.xbackends, key)
	var out gwxv1a1.BackendStatus
	report := slices.Concat(view.Report, t.tlsReport(r, model.BackendKey{Kind: model.KindXBackend, Name: key}))
	accepted := status.Judge(status.Accepted, report, string(gwxv1a1.BackendReasonAccepted),
		"The backend is accepted", b.Generation)
	var gateways []model.Name
	for _, use := range t.uses.Keys(r, xbackendRef(key)) {
		gateways = append(gateways, use.Gateway)
	}
	found := t.ancestors(r, gateways)
	for _, a := range found[:min(len(found), maxBackendAncestors)] {
		out.Ancestors = append(out.Ancestors, gwxv1a1.BackendAncestorStatus{
			AncestorRef: a.Ref, ControllerName: a.Controller, Conditions: []metav1.Condition{accepted},
		})
	}
	return out, len(out.Ancestors) > 0
}

// maxBackendAncestors is how many ancestors the status of an XBackend can have (its schema).
const maxBackendAncestors = 32
