package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// service is what routes and backends need to know of a Service.
type service struct {
	// External is set for the type ExternalName.
	External bool
	// IP is the Service's own address, empty for a headless one.
	IP    string
	Ports []servicePort
	// Prefer is what it says of zones.
	Prefer model.ZonePreference
}

type servicePort struct {
	Number uint16
	Name   string
	// App is the appProtocol.
	App string
	// Protocol is the transport protocol.
	Protocol corev1.Protocol
}

// transportOf is the transport protocol of the Service ports that a use of a backend means.
func transportOf(use model.AppProtocol) corev1.Protocol {
	if use == model.AppUDP {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

// port returns the port with a number, that of the transport protocol if there is one.
func (s *service) port(number uint16, transport corev1.Protocol) (servicePort, bool) {
	var found servicePort
	ok := false
	for _, p := range s.Ports {
		if p.Number == number && (!ok || p.Protocol == transport) {
			found, ok = p, true
		}
	}
	return found, ok
}

// addViews adds the narrow views of objects that many routes read, and that seldom change although the objects do.
func (t *Tables) addViews(e *incr.Engine) {
	t.labels = incr.NewTable(e, "namespace labels", func(r *incr.Reader, key model.Name) (map[string]string, bool) {
		ns, ok := incr.Get(r, t.in.namespaces, key)
		if !ok {
			return nil, false
		}
		return namespaceLabels(key.Name, ns.Labels), true
	}, t.in.namespaces)
	t.services = incr.NewTable(e, "service ports", func(r *incr.Reader, key model.Name) (*service, bool) {
		svc, ok := incr.Get(r, t.in.services, key)
		if !ok {
			return nil, false
		}
		out := &service{External: svc.Spec.Type == corev1.ServiceTypeExternalName, Prefer: zonePreference(svc)}
		if ip, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil { // "None", or nothing yet
			out.IP = ip.String()
		}
		for _, p := range svc.Spec.Ports {
			out.Ports = append(out.Ports, servicePort{
				Number: uint16(p.Port), // 1 to 65535 by the API's validation
				Name:   p.Name, App: strings.ToLower(deref(p.AppProtocol, "")),
				Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP),
			})
		}
		return out, true
	}, t.in.services)
	t.externals = incr.NewTable(e, "backend objects", t.external, t.in.backends)
	t.addSlices(e)
}

// zonePreference returns what a Service says of zones. trafficDistribution comes before the annotation; whatever it
// prefers (PreferClose, PreferSameZone, PreferSameNode), a proxy knows zones.
func zonePreference(svc *corev1.Service) model.ZonePreference {
	if svc.Spec.TrafficDistribution != nil {
		return model.ZonePreference{MinEndpoints: 1, MinLocal: 1}
	}
	switch svc.Annotations[corev1.AnnotationTopologyMode] {
	case "Auto", "auto": // Envoy Gateway's thresholds: Kubernetes spreads out what few endpoints would have to bear
		return model.ZonePreference{MinEndpoints: 3, MinLocal: 3}
	}
	return model.ZonePreference{}
}

// namespaceLabels returns the labels of a Namespace with the one that the API server gives to each of them.
func namespaceLabels(name string, written map[string]string) map[string]string {
	out := maps.Clone(written)
	if out == nil {
		out = map[string]string{}
	}
	out[corev1.LabelMetadataName] = name
	return out
}

// unseen returns why an object cannot be known that another namespace may hold, or otherwise if it would be.
func (t *Tables) unseen(r *incr.Reader, to model.Ref, otherwise string) string {
	if to.Namespace == "" || t.opts.Scope.Covers(to.Namespace, labels.Set(t.labelsOf(r, to.Namespace))) {
		return otherwise
	}
	return fmt.Sprintf("%s cannot be used: Sluice does not watch namespace %s. Add it to what sluice serve watches "+
		"(--watch-namespace, --watch-namespace-selector)", to, to.Namespace)
}

// labelsOf returns the labels of a namespace. One that nobody wrote down exists all the same: on one machine, objects
// can be in namespaces that have no object.
func (t *Tables) labelsOf(r *incr.Reader, namespace string) map[string]string {
	if found, ok := incr.Get(r, t.labels, model.Name{Name: namespace}); ok {
		return found
	}
	return namespaceLabels(namespace, nil)
}
