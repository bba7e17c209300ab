package pipeline

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// quarantine is what Sluice itself has failed on: rows of tables whose function panicked, which is always a bug. The
// engine keeps such a row as it was. Here is which objects the rows are about, so that their statuses say so for as
// long as it lasts.
type quarantine struct {
	rows map[faultID]failure
	// objects has the rows that are about an object.
	objects map[model.Ref]map[faultID]struct{}
}

type faultID struct{ table, key string }

// failure is one row: what is to be said of it, and of which objects.
type failure struct {
	message string
	objects []model.Ref
}

// What is said of an object that Sluice fails on: of one that was good before, and of one that was not.
const (
	failedKept = "Sluice fails on this version of it, which is a bug in Sluice; the version before stays live. " +
		"Please report it: "
	failedNew = "Sluice fails on it, which is a bug in Sluice; it is not served. Please report it: "
)

// take notes what a commit has failed on, and what it has mended. It returns the objects of which something else is to
// be said now, and the issues that this makes and mends.
func (q *quarantine) take(p *Pipeline, result incr.Result) (touched []model.Ref, issues, fixed status.Report) {
	if len(result.Faults) == 0 && len(result.Mended) == 0 {
		return nil, nil, nil
	}
	before := map[model.Ref]string{}
	note := func(ref model.Ref) {
		if _, ok := before[ref]; !ok {
			before[ref] = q.why(ref)
		}
	}
	for _, f := range slices.Concat(result.Mended, result.Faults) {
		id := faultID{f.Table, f.Key}
		for _, ref := range q.rows[id].objects {
			note(ref)
			delete(q.objects[ref], id)
			if len(q.objects[ref]) == 0 {
				delete(q.objects, ref)
			}
		}
		delete(q.rows, id)
		if f.Err == nil {
			continue
		}
		objects := p.blamed(f)
		q.rows[id] = failure{failureMessage(f), objects}
		for _, ref := range objects {
			note(ref)
			if q.objects[ref] == nil {
				q.objects[ref] = map[faultID]struct{}{}
			}
			q.objects[ref][id] = struct{}{}
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(before), model.Ref.Compare) {
		now := q.why(ref)
		if now == before[ref] {
			continue
		}
		touched = append(touched, ref)
		if before[ref] != "" {
			fixed = append(fixed, q.issue(ref, before[ref]))
		}
		if now != "" {
			issues = append(issues, q.issue(ref, now))
		}
	}
	return touched, issues, fixed
}

// failureMessage is what happened to a row in one line: the stack is in the log.
func failureMessage(f incr.Fault) string {
	what, _, _ := strings.Cut(f.Error(), "\n")
	if f.Kept {
		return failedKept + what
	}
	return failedNew + what
}

// why says what Sluice fails on that is about an object, empty for nothing. Of several the first by its words is said.
func (q *quarantine) why(ref model.Ref) string {
	first := ""
	for id := range q.objects[ref] {
		if message := q.rows[id].message; first == "" || message < first {
			first = message
		}
	}
	return first
}

func (q *quarantine) issue(ref model.Ref, why string) status.Issue {
	return status.Issue{Object: ref, Condition: status.Programmed, Reason: status.ReasonInternalError, Message: why}
}

// report is everything that Sluice fails on.
func (q *quarantine) report() status.Report {
	var out status.Report
	for ref := range q.objects {
		out = append(out, q.issue(ref, q.why(ref)))
	}
	return out
}

// blamed are the objects that a row is about. There are none for rows that many objects share without any of them
// having changed.
func (p *Pipeline) blamed(f incr.Fault) []model.Ref {
	switch key := f.At.(type) {
	case model.Ref:
		return []model.Ref{key}
	case interface{ Ref() model.Ref }:
		return []model.Ref{key.Ref()}
	case interface{ Refs() []model.Ref }:
		return key.Refs()
	case model.ListenerKey:
		return []model.Ref{key.Source}
	case model.PortKey:
		return p.sourcesOf(key)
	case model.RouteTableKey:
		return p.sourcesOf(key.Port())
	case model.HostKey:
		return p.changedAt(key)
	case model.Name:
		return objectNamed(f.Reads, key)
	}
	return nil
}

// sourcesOf are the objects with listeners on a port.
func (p *Pipeline) sourcesOf(key model.PortKey) []model.Ref {
	port, _ := p.resolved.Ports.Peek(key)
	var out []model.Ref
	for i := range port.Listeners {
		out = append(out, port.Listeners[i].Key.Source)
	}
	slices.SortFunc(out, model.Ref.Compare)
	return slices.Compact(out)
}

// changedAt are the routes of a host that the last commit changed.
func (p *Pipeline) changedAt(host model.HostKey) []model.Ref {
	var out []model.Ref
	for key := range p.resolved.Routes.Changes() {
		bindings, _ := p.resolved.Bindings.Peek(key)
		if slices.ContainsFunc(bindings.Bound, func(b model.Binding) bool {
			return b.Table == host.Table && slices.ContainsFunc(b.Hosts, func(h model.BoundHost) bool {
				return h.Domain == host.Domain
			})
		}) {
			out = append(out, key.Ref())
		}
	}
	return out
}

// objectNamed are the objects of a name among what a row was made of.
func objectNamed(reads []incr.Source, name model.Name) []model.Ref {
	var out []model.Ref
	for i := range resource.Kinds {
		kind := &resource.Kinds[i]
		if slices.Contains(reads, incr.Source{Table: kind.Plural, Key: name.String()}) {
			out = append(out, kind.Ref(name))
		}
	}
	return out
}

// quarantined is the status of an object that Sluice fails on, with why. A route that is new has none of its own: then
// its Gateways are those that are known.
func (p *Pipeline) quarantined(ref model.Ref, st any, has bool, why string) (any, bool) {
	if has {
		return status.Fail(st, why, p.generation(ref)), true
	}
	out := &gwv1.RouteStatus{}
	for _, parent := range p.parentRefs(ref) {
		to := model.Name{Namespace: ref.Namespace, Name: string(parent.Name)}
		if parent.Namespace != nil {
			to.Namespace = string(*parent.Namespace)
		}
		if _, ours := p.resolved.Gateways.Peek(to); !ours {
			continue
		}
		out.Parents = append(out.Parents, gwv1.RouteParentStatus{
			ParentRef: parent, ControllerName: gwv1.GatewayController(p.opts.Controllers[0]),
			Conditions: []metav1.Condition{
				status.False(status.Accepted, status.ReasonInternalError, why, p.generation(ref)),
			},
		})
	}
	return out, len(out.Parents) > 0
}

// parentRefs are those of a route that name Gateways; nothing for other kinds.
func (p *Pipeline) parentRefs(ref model.Ref) []gwv1.ParentReference {
	obj, _ := p.store.Get(ref)
	var all []gwv1.ParentReference
	switch o := obj.(type) {
	case *gwv1.HTTPRoute:
		all = o.Spec.ParentRefs
	case *gwv1.GRPCRoute:
		all = o.Spec.ParentRefs
	case *gwv1.TLSRoute:
		all = o.Spec.ParentRefs
	case *gwv1.TCPRoute:
		all = o.Spec.ParentRefs
	case *gwv1.UDPRoute:
		all = o.Spec.ParentRefs
	}
	var out []gwv1.ParentReference
	for _, parent := range all {
		if parent.Kind == nil || *parent.Kind == model.KindGateway {
			out = append(out, parent)
		}
	}
	return out
}

// publishQuarantined publishes the statuses of objects of which something else is to be said.
func (p *Pipeline) publishQuarantined(touched []model.Ref) {
	if p.opts.Publish == nil {
		return
	}
	for _, ref := range touched {
		switch ref.Kind {
		case model.KindHTTPRoute, model.KindGRPCRoute, model.KindTLSRoute, model.KindTCPRoute, model.KindUDPRoute:
			st, ok := p.resolved.RouteStatus.Peek(model.RouteKey{Kind: ref.Kind, Name: ref.Name})
			p.put(ref, &st, ok)
		case model.KindGatewayClass:
			st, ok := p.resolved.GatewayClassStatus.Peek(ref.Name)
			p.put(ref, &st, ok)
		case model.KindEnvoyProxy:
			st, ok := p.resolved.EnvoyProxyStatus.Peek(ref.Name)
			p.put(ref, &st, ok)
		case model.KindEnvoyPatchPolicy, model.KindBackendTLSPolicy:
			p.putPolicy(ref)
		default:
			p.publishOwners([]model.Ref{ref})
		}
	}
}
