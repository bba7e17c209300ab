package resolve

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// supportedKinds are the kinds of routes that can be attached to listeners of a protocol.
func supportedKinds(p model.Protocol) []string {
	switch p {
	case model.HTTP, model.HTTPS:
		return []string{model.KindHTTPRoute, model.KindGRPCRoute}
	case model.TLS:
		return []string{model.KindTLSRoute}
	case model.TCP:
		return []string{model.KindTCPRoute}
	case model.UDP:
		return []string{model.KindUDPRoute}
	default:
		return nil
	}
}

// listenerSource resolves the listeners of one object: a Gateway, or a ListenerSet, whose entries have the same fields.
type listenerSource struct {
	t *Tables
	r *incr.Reader
	// ref is the object that the listeners are written in: what they refer to is relative to its namespace and granted
	// to its kind. gateway is the Gateway that they belong to, tls what that says for all of them, relative to its own
	// namespace.
	ref, gateway model.Ref
	tls          *gwv1.GatewayTLSConfig
	// client is what the Gateway shows to backends.
	client model.ClientCertificate
	// gear is what its proxies have and do.
	gear  model.Gear
	proxy model.ProxyName
	// rejected is set if the object as a whole takes no traffic.
	rejected bool

	listeners []model.Listener
	// doors belong to the listeners of the same index.
	doors  []*door
	report status.Report
}

// listenerResolver resolves one listener.
type listenerResolver struct {
	*listenerSource
	spec *gwv1.Listener
	path string
	// refused is set once the listener cannot be programmed.
	refused bool
}

// add resolves the next listener of the object.
func (s *listenerSource) add(spec *gwv1.Listener) {
	v := &listenerResolver{listenerSource: s, spec: spec, path: fmt.Sprintf("spec.listeners[%d]", len(s.listeners))}
	l := model.Listener{
		Key:      model.ListenerKey{Source: s.ref, Name: string(spec.Name)},
		Port:     uint16(spec.Port), // 1 to 65535 by its schema
		Protocol: model.Protocol(spec.Protocol),
		Hostname: strings.ToLower(string(deref(spec.Hostname, ""))),
	}
	d := &door{
		Key: l.Key, Port: l.PortKey(s.proxy), Protocol: l.Protocol, Hostname: l.Hostname, Client: s.client,
		Gear: s.gear,
	}
	if v.protocol(l.Protocol) {
		d.Kinds = v.kinds(supportedKinds(l.Protocol))
		d.From, d.Namespaces = v.namespaces()
		v.unsupported(l)
		if l.Protocol.Transport() == model.OverTCP {
			v.reserved(l.Port)
		}
		l.Passthrough = l.Protocol == model.TLS && v.mode() == gwv1.TLSModePassthrough
		d.Passthrough = l.Passthrough
		l.Filters, l.Fault = v.filters()
		if v.terminates(l.Protocol) {
			l.Certificates = v.certificates()
		}
		if l.Protocol == model.HTTPS {
			l.Clients = v.clients()
		}
	}
	l.Valid = !v.refused && !s.rejected
	d.Valid = l.Valid
	s.listeners = append(s.listeners, l)
	s.doors = append(s.doors, d)
}

// issue notes an issue with the listener. path is relative to the listener.
func (v *listenerResolver) issue(condition, reason, path, message string) {
	v.issueAt(condition, reason, v.path+path, message)
}

// issueAt notes an issue with the listener that is about another part of its object.
func (v *listenerResolver) issueAt(condition, reason, path, message string) {
	v.report = append(v.report, status.Issue{
		Object: v.ref, Section: status.Section{Listener: string(v.spec.Name)},
		Condition: condition, Reason: reason, Path: path, Message: message,
	})
}

// refuse notes an issue because of which the listener is not accepted.
func (v *listenerResolver) refuse(reason, path, message string) {
	v.issue(status.Accepted, reason, path, message)
	v.refused = true
}

func (v *listenerResolver) protocol(p model.Protocol) bool {
	switch p {
	case model.HTTP, model.HTTPS, model.TLS, model.TCP, model.UDP:
		return true
	default:
		v.refuse(status.ReasonUnsupportedProtocol, ".protocol",
			fmt.Sprintf("Protocol %q is not known: use HTTP, HTTPS, TLS, TCP or UDP", p))
		return false
	}
}

// mode is the TLS mode of the listener.
func (v *listenerResolver) mode() gwv1.TLSModeType {
	if v.spec.TLS == nil {
		return gwv1.TLSModeTerminate
	}
	return deref(v.spec.TLS.Mode, gwv1.TLSModeTerminate)
}

// terminates says whether the listener ends TLS itself, so that it needs a certificate.
func (v *listenerResolver) terminates(p model.Protocol) bool {
	return p == model.HTTPS || p == model.TLS && v.mode() == gwv1.TLSModeTerminate
}

// modeFits says whether a listener of a protocol can have the TLS mode.
func modeFits(p model.Protocol, mode gwv1.TLSModeType) bool {
	switch mode {
	case gwv1.TLSModeTerminate:
		return p == model.HTTPS || p == model.TLS
	case gwv1.TLSModePassthrough:
		return p == model.TLS
	default:
		return false
	}
}

// reserved refuses a port that the Envoys need for themselves.
func (v *listenerResolver) reserved(port uint16) {
	if v.t.opts.Fleets == nil {
		return
	}
	if use, ok := v.t.opts.Fleets.Reserved[port]; ok {
		v.refuse(status.ReasonPortUnavailable, ".port",
			fmt.Sprintf("Every Envoy uses port %d for %s: use another", port, use))
	}
}

// kinds returns the kinds of routes that the listener lets in. Kinds that it cannot take are an issue, but the others
// are let in all the same.
func (v *listenerResolver) kinds(supported []string) []string {
	if v.spec.AllowedRoutes == nil || len(v.spec.AllowedRoutes.Kinds) == 0 {
		return supported
	}
	out := []string{}
	for i, k := range v.spec.AllowedRoutes.Kinds {
		if deref(k.Group, gwv1.GroupName) == gwv1.GroupName && slices.Contains(supported, string(k.Kind)) {
			if !slices.Contains(out, string(k.Kind)) {
				out = append(out, string(k.Kind))
			}
			continue
		}
		v.issue(status.ResolvedRefs, string(gwv1.ListenerReasonInvalidRouteKinds),
			fmt.Sprintf(".allowedRoutes.kinds[%d]", i),
			fmt.Sprintf("%s is not a kind of route that a listener of protocol %s can take", k.Kind, v.spec.Protocol))
	}
	return out
}

func (v *listenerResolver) namespaces() (gwv1.FromNamespaces, labels.Selector) {
	if v.spec.AllowedRoutes == nil || v.spec.AllowedRoutes.Namespaces == nil {
		return gwv1.NamespacesFromSame, nil
	}
	ns := v.spec.AllowedRoutes.Namespaces
	switch from := deref(ns.From, gwv1.NamespacesFromSame); from {
	case gwv1.NamespacesFromSame, gwv1.NamespacesFromAll, gwv1.NamespacesFromNone:
		return from, nil
	case gwv1.NamespacesFromSelector:
		if ns.Selector == nil {
			v.refuse(status.ReasonUnsupportedValue, ".allowedRoutes.namespaces.selector",
				"The selector is missing: it is required with from: Selector")
			return gwv1.NamespacesFromNone, nil
		}
		selector, err := metav1.LabelSelectorAsSelector(ns.Selector)
		if err != nil {
			v.refuse(status.ReasonUnsupportedValue, ".allowedRoutes.namespaces.selector",
				fmt.Sprintf("The selector is not valid: %v", err))
			return gwv1.NamespacesFromNone, nil
		}
		return from, selector
	default:
		v.refuse(status.ReasonUnsupportedValue, ".allowedRoutes.namespaces.from",
			fmt.Sprintf("%q is not known: use Same, All or Selector", from))
		return gwv1.NamespacesFromNone, nil
	}
}

// unsupported refuses the listener for everything that guards it and that Sluice does not do yet: to leave it out would
// open what it was meant to close.
func (v *listenerResolver) unsupported(l model.Listener) {
	if v.spec.TLS != nil {
		if mode := v.mode(); !modeFits(l.Protocol, mode) {
			v.refuse(status.ReasonUnsupportedValue, ".tls.mode",
				fmt.Sprintf("TLS mode %s cannot be used with protocol %s", mode, l.Protocol))
		}
		if len(v.spec.TLS.Options) > 0 {
			v.refuse(status.ReasonUnsupportedValue, ".tls.options", "No TLS options are supported: remove them")
		}
	}
}

// certificates resolves the listener's certificateRefs. Bad ones are left out as long as there is a good one.
func (v *listenerResolver) certificates() []model.Name {
	if v.spec.TLS == nil || len(v.spec.TLS.CertificateRefs) == 0 {
		v.issue(status.ResolvedRefs, string(gwv1.ListenerReasonInvalidCertificateRef), ".tls.certificateRefs",
			"A listener that terminates TLS needs a certificate: name a Secret of type kubernetes.io/tls")
		v.refused = true
		return nil
	}
	var out []model.Name
	for i, ref := range v.spec.TLS.CertificateRefs {
		to := secretRef(ref, v.ref.Namespace)
		reason, message := v.t.checkCertificate(v.r, v.ref, to)
		if reason != "" {
			v.issue(status.ResolvedRefs, string(reason), fmt.Sprintf(".tls.certificateRefs[%d]", i), message)
		} else if !slices.Contains(out, to.Name) {
			out = append(out, to.Name)
		}
	}
	if len(out) == 0 {
		v.refused = true
	}
	return out
}

// checkCertificate returns why an object cannot use a Secret as a certificate, or no reason. Whether there is such a
// Secret in another namespace is said only to those who are granted it.
func (t *Tables) checkCertificate(r *incr.Reader, from, to model.Ref) (gwv1.ListenerConditionReason, string) {
	if to.Group != model.GroupCore || to.Kind != model.KindSecret {
		return gwv1.ListenerReasonInvalidCertificateRef,
			fmt.Sprintf("%s of group %q cannot hold a certificate: use a Secret", to.Kind, to.Group)
	}
	if !t.granted(r, from, to) {
		return gwv1.ListenerReasonRefNotPermitted,
			t.unseen(r, to, fmt.Sprintf("No ReferenceGrant in namespace %s lets %ss of namespace %s use %s",
				to.Namespace, from.Kind, from.Namespace, to))
	}
	p, ok := incr.Get(r, t.pairs, to.Name)
	switch {
	case !ok:
		return gwv1.ListenerReasonInvalidCertificateRef, fmt.Sprintf("%s does not exist", to)
	case p.Problem != "":
		return gwv1.ListenerReasonInvalidCertificateRef, fmt.Sprintf("%s is not valid: %s", to, p.Problem)
	}
	return "", ""
}

func secretRef(ref gwv1.SecretObjectReference, namespace string) model.Ref {
	return model.Ref{
		Group: string(deref(ref.Group, "")), Kind: string(deref(ref.Kind, model.KindSecret)),
		Name: model.Name{Namespace: string(deref(ref.Namespace, gwv1.Namespace(namespace))), Name: string(ref.Name)},
	}
}
