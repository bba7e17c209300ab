package resolve

import (
	"cmp"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

func (t *Tables) addStatuses(e *incr.Engine) {
	t.addListenerSetStatuses(e)
	t.GatewayStatus = incr.NewTable(e, "gateway status", t.gatewayStatus, t.Gateways)
	t.RouteStatus = incr.NewTable(e, "route status", t.routeStatus, t.Routes)
	t.XBackendStatus = incr.NewTable(e, "xbackend status", t.xbackendStatus, t.xbackends)
	t.BackendStatus = incr.NewTable(e, "backend status", t.backendStatus, t.externals)
	t.EnvoyProxyStatus = incr.NewTable(e, "envoyproxy status", t.envoyProxyStatus, t.parameters)
}

func (t *Tables) gatewayStatus(r *incr.Reader, key model.Name) (gwv1.GatewayStatus, bool) {
	gw, ok := incr.Get(r, t.Gateways, key)
	if !ok {
		return gwv1.GatewayStatus{}, false
	}
	own, _ := incr.Get(r, t.ours, key)
	sets := int32(t.attachedSets.Len(r, key)) //nolint:gosec // a count of objects
	in := status.Gateway{
		Generation: own.Gateway.Generation, Report: gw.Report, AttachedListenerSets: &sets, Insecure: gw.Insecure,
		Listeners: t.listenerStatuses(r, written{Listeners: gw.Listeners, doors: gw.doors}, model.ListenerKey.String),
	}
	if isDefault(own.Gateway) {
		in.DefaultScope = own.Gateway.Spec.DefaultScope
	}
	return in.Build(), true
}

// listenerStatuses returns what is known of the listeners of an object. name is how it may call those of others.
func (t *Tables) listenerStatuses(r *incr.Reader, w written, name func(model.ListenerKey) string) []status.Listener {
	out := make([]status.Listener, 0, len(w.Listeners))
	for i := range w.Listeners {
		l, d := &w.Listeners[i], w.doors[i]
		ls := status.Listener{
			Name: gwv1.SectionName(l.Key.Name), Kinds: routeKinds(d.Kinds), Serving: l.Valid,
			AttachedRoutes: t.attached.Len(r, l.Key),
		}
		ls.Unbound, _ = incr.Get(r, t.Unbound, d.Port)
		if seat, ok := incr.Get(r, t.Seats, l.Key); ok && seat.Conflict != nil {
			ls.Conflict, ls.ConflictWith = seat.Conflict.Reason, name(seat.Conflict.With)
		} else if ok && l.Protocol == model.HTTPS {
			for _, other := range t.overlaps(r, l, d.Port) {
				if n := name(other); !slices.Contains(ls.Overlaps, n) {
					ls.Overlaps = append(ls.Overlaps, n)
				}
			}
		}
		out = append(out, ls)
	}
	return out
}

// routeKinds returns kinds of the Gateway API as statuses list them: never nil, for no kinds is an answer.
func routeKinds(kinds []string) []gwv1.RouteGroupKind {
	group := gwv1.Group(model.GroupGateway)
	out := make([]gwv1.RouteGroupKind, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, gwv1.RouteGroupKind{Group: &group, Kind: gwv1.Kind(k)})
	}
	return out
}

func (t *Tables) routeStatus(r *incr.Reader, key model.RouteKey) (gwv1.RouteStatus, bool) {
	route, ok := incr.Get(r, t.Routes, key)
	if !ok {
		return gwv1.RouteStatus{}, false
	}
	o, _ := t.routeObject(r, key)
	bindings, _ := incr.Get(r, t.Bindings, key)
	in := status.Route{
		Generation: o.Meta.Generation, Rules: route.RuleCount, Report: route.Report, Refused: route.Refused,
	}
	if why, ok := incr.Get(r, t.Withheld, key); ok && in.Refused == "" {
		in.Refused = why
	}
	for _, p := range bindings.Parents {
		in.Parents = append(in.Parents, status.Parent{
			Index: p.Index, Ref: p.Ref, Controller: gwv1.GatewayController(p.Controller),
			Reason: p.Reason, Message: cmp.Or(p.Message, t.eclipsed(r, key, bindings, p)),
		})
	}
	return in.Build(), true
}

func (t *Tables) backendStatus(r *incr.Reader, key model.Name) (egv1a1.BackendStatus, bool) {
	ext, ok := incr.Get(r, t.externals, key)
	if !ok {
		return egv1a1.BackendStatus{}, false
	}
	b, _ := incr.Get(r, t.in.backends, key)
	report := slices.Concat(ext.Report, t.tlsReport(r, model.BackendKey{Kind: model.KindBackend, Name: key}))
	return egv1a1.BackendStatus{Conditions: []metav1.Condition{
		status.Judge(status.Accepted, report, string(egv1a1.BackendReasonAccepted),
			"The backend is accepted", b.Generation),
	}}, true
}
