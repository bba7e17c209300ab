package resolve

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// ListenerSet is a ListenerSet whose parent is one of our Gateways, and what is wrong with it.
type ListenerSet struct {
	Name model.Name
	// Gateway is the parent.
	Gateway model.Name
	// Proxy is that of the parent.
	Proxy model.ProxyName
	// Created decides which of two ListenerSets gets a hostname that both want: the older one. It is zero in files, where
	// the name alone decides.
	Created time.Time
	// Listeners are in the order of the spec. Those that are not Valid are there for their status only.
	Listeners []model.Listener
	// Report holds the issues of the listeners.
	Report status.Report
	// Reason is why the Gateway takes none of the listeners: NotAllowed or ParentNotAccepted; empty if it does. Message
	// goes with it.
	Reason, Message string

	doors []*door
}

// hosting is what a ListenerSet needs to know of its Gateway. It leaves out the Gateway's own listeners, so that their
// edits reach no ListenerSet.
type hosting struct {
	Proxy model.ProxyName
	// Rejected is set if the Gateway as a whole takes no traffic.
	Rejected bool
	// From says from which namespaces ListenerSets are let in; Namespaces selects them if it is Selector.
	From       gwv1.FromNamespaces
	Namespaces labels.Selector
	// Problem is what is wrong with the Gateway's allowedListeners: then it lets in none.
	Problem string
	TLS     *gwv1.GatewayTLSConfig
	// Client is what the Gateway shows to backends.
	Client model.ClientCertificate
	// Gear is what its proxies have and do.
	Gear model.Gear
}

// setParent is what a route needs to know of a ListenerSet that it names as a parent.
type setParent struct {
	Gateway    model.Name
	Controller string
}

func (t *Tables) addListenerSets(e *incr.Engine) {
	t.hosting = incr.NewTable(e, "hosting gateways", func(r *incr.Reader, key model.Name) (hosting, bool) {
		gw, ok := incr.Get(r, t.Gateways, key)
		own, _ := incr.Get(r, t.ours, key)
		if !ok {
			return hosting{}, false
		}
		out := hosting{Proxy: gw.Proxy, Rejected: gw.rejected, TLS: own.Gateway.Spec.TLS, Client: gw.Client,
			Gear: gw.Gear}
		out.From, out.Namespaces, out.Problem = allowedListeners(own.Gateway.Spec.AllowedListeners)
		return out, true
	}, t.Gateways)
	t.setParents = incr.NewTable(e, "listenerset parents", func(r *incr.Reader, key model.Name) (setParent, bool) {
		set, ok := incr.Get(r, t.in.sets, key)
		if !ok {
			return setParent{}, false
		}
		ref := set.Spec.ParentRef
		if deref(ref.Group, gwv1.GroupName) != gwv1.GroupName || deref(ref.Kind, model.KindGateway) != model.KindGateway {
			return setParent{}, false
		}
		gw := model.Name{Namespace: string(deref(ref.Namespace, gwv1.Namespace(key.Namespace))), Name: string(ref.Name)}
		controller, ok := incr.Get(r, t.controllers, gw)
		return setParent{Gateway: gw, Controller: controller}, ok
	}, t.in.sets)
	t.ListenerSets = incr.NewTable(e, "listenersets", t.listenerSet, t.in.sets)
}

// allowedListeners returns from where a Gateway lets in ListenerSets: from nowhere unless it says so.
func allowedListeners(spec *gwv1.AllowedListeners) (_ gwv1.FromNamespaces, _ labels.Selector, problem string) {
	if spec == nil || spec.Namespaces == nil {
		return gwv1.NamespacesFromNone, nil, ""
	}
	from := deref(spec.Namespaces.From, gwv1.NamespacesFromNone)
	if from != gwv1.NamespacesFromSelector {
		return from, nil, ""
	}
	if spec.Namespaces.Selector == nil {
		return gwv1.NamespacesFromNone, nil, "its spec.allowedListeners.namespaces.selector is missing"
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Namespaces.Selector)
	if err != nil {
		return gwv1.NamespacesFromNone, nil,
			fmt.Sprintf("its spec.allowedListeners.namespaces.selector is not valid: %v", err)
	}
	return from, selector, ""
}

// letsIn says whether a rule about namespaces lets in an object of one namespace to one of another.
func (t *Tables) letsIn(r *incr.Reader, from gwv1.FromNamespaces, selector labels.Selector, guest, host string) bool {
	switch from {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return guest == host
	case gwv1.NamespacesFromSelector:
		return selector.Matches(labels.Set(t.labelsOf(r, guest)))
	default:
		return false
	}
}

func (t *Tables) listenerSet(r *incr.Reader, key model.Name) (ListenerSet, bool) {
	parent, ok := incr.Get(r, t.setParents, key)
	if !ok {
		return ListenerSet{}, false
	}
	set, _ := incr.Get(r, t.in.sets, key)
	host, ok := incr.Get(r, t.hosting, parent.Gateway)
	if !ok {
		return ListenerSet{}, false
	}
	out := ListenerSet{Name: key, Gateway: parent.Gateway, Proxy: host.Proxy, Created: set.CreationTimestamp.UTC()}
	switch {
	case !t.letsIn(r, host.From, host.Namespaces, key.Namespace, parent.Gateway.Namespace):
		out.Reason = string(gwv1.ListenerSetReasonNotAllowed)
		out.Message = fmt.Sprintf("Gateway %s lets in no ListenerSets of namespace %s: %s", parent.Gateway, key.Namespace,
			cmp.Or(host.Problem, "see its spec.allowedListeners"))
	case host.Rejected:
		out.Reason = string(gwv1.ListenerSetReasonParentNotAccepted)
		out.Message = fmt.Sprintf("Gateway %s takes no traffic: see its status", parent.Gateway)
	}
	source := &listenerSource{
		t: t, r: r, ref: setRef(key), gateway: gatewayRef(parent.Gateway), tls: host.TLS, client: host.Client,
		gear: host.Gear, proxy: host.Proxy, rejected: out.Reason != "",
	}
	for i := range set.Spec.Listeners {
		spec := gwv1.Listener(set.Spec.Listeners[i])
		source.add(&spec)
	}
	for _, d := range source.doors {
		d.Foreign = out.Reason == string(gwv1.ListenerSetReasonNotAllowed)
	}
	out.Listeners, out.doors, out.Report = source.listeners, source.doors, source.report
	return out, true
}

// acceptance is whether a ListenerSet counts as attached to its Gateway.
type acceptance struct {
	Gateway  model.Name
	Accepted bool
}

func (t *Tables) addListenerSetStatuses(e *incr.Engine) {
	t.ListenerSetStatus = incr.NewTable(e, "listenerset status", t.listenerSetStatus, t.ListenerSets)
	accepted := incr.NewTable(e, "listenerset acceptance", func(r *incr.Reader, key model.Name) (acceptance, bool) {
		st, ok := incr.Get(r, t.ListenerSetStatus, key)
		parent, _ := incr.Get(r, t.setParents, key)
		return acceptance{Gateway: parent.Gateway, Accepted: status.Holds(st.Conditions, status.Accepted)}, ok
	}, t.ListenerSetStatus)
	t.attachedSets = incr.NewIndex(e, "attached listenersets", accepted, func(_ model.Name, a acceptance) []model.Name {
		if !a.Accepted {
			return nil
		}
		return []model.Name{a.Gateway}
	})
}

func (t *Tables) listenerSetStatus(r *incr.Reader, key model.Name) (gwv1.ListenerSetStatus, bool) {
	set, ok := incr.Get(r, t.ListenerSets, key)
	if !ok {
		return gwv1.ListenerSetStatus{}, false
	}
	o, _ := incr.Get(r, t.in.sets, key)
	name := func(k model.ListenerKey) string { return disclose(k, setRef(key), set.Gateway) }
	in := status.ListenerSet{
		Generation: o.Generation, Report: set.Report, Reason: set.Reason, Message: set.Message,
		Listeners: t.listenerStatuses(r, written{Listeners: set.Listeners, doors: set.doors}, name),
	}
	return in.Build(), true
}

// disclose returns the name of a listener as the author of a ListenerSet may know it: what is in other namespaces is
// not theirs to see, but for the Gateway that they chose (Gateway API, ListenerSetSpec.Listeners).
func disclose(k model.ListenerKey, set model.Ref, gateway model.Name) string {
	if k.Source.Namespace == set.Namespace || k.Source == gatewayRef(gateway) {
		return k.String()
	}
	return "of a " + k.Source.Kind + " in another namespace"
}
