package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
)

// standard are the condition types that Sluice may set somewhere. Conditions of other types are someone else's.
var standard = []string{
	"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", "OverlappingTLSConfig",
	"InsecureFrontendValidationMode", "SupportedVersion", "Overridden", "Merged", "Aggregated", "Warning",
}

// owner tells what in a status is ours.
type owner struct {
	// controllers are the names in the entries of ours in lists of parents and ancestors.
	controllers []gwv1.GatewayController
	now         func() time.Time
}

// merge returns the status that an object should have: what it has, with our part as it should be. want is nil if
// nothing of the status should be ours; then only entries that carry our name are taken out. Neither is changed.
// Both are structs of one type.
func (o owner) merge(have, want reflect.Value) reflect.Value {
	out := reflect.New(have.Type()).Elem()
	out.Set(have)
	for i := range have.NumField() {
		field := reflect.Value{}
		if want.IsValid() {
			field = want.Field(i)
		}
		o.mergeField(out.Field(i), field)
	}
	return out
}

// mergeField makes a field, which is what the object has, what it should have.
func (o owner) mergeField(have, want reflect.Value) {
	switch list := have.Interface().(type) {
	case []gwv1.RouteParentStatus:
		have.Set(reflect.ValueOf(mergeEntries(o, list, as[[]gwv1.RouteParentStatus](want), parent)))
	case []gwv1.PolicyAncestorStatus:
		have.Set(reflect.ValueOf(mergeEntries(o, list, as[[]gwv1.PolicyAncestorStatus](want), ancestor)))
	case []egv1a1.EnvoyProxyAncestorStatus:
		have.Set(reflect.ValueOf(mergeUsers(o, list, as[[]egv1a1.EnvoyProxyAncestorStatus](want))))
	case []gwxv1a1.BackendAncestorStatus:
		have.Set(reflect.ValueOf(mergeEntries(o, list, as[[]gwxv1a1.BackendAncestorStatus](want), backendAncestor)))
	default:
		if !want.IsValid() {
			return
		}
		switch list := have.Interface().(type) {
		case []metav1.Condition:
			have.Set(reflect.ValueOf(o.conditions(list, as[[]metav1.Condition](want))))
		case []gwv1.ListenerStatus:
			have.Set(reflect.ValueOf(mergeNamed(o, list, as[[]gwv1.ListenerStatus](want), listener)))
		case []gwv1.ListenerEntryStatus:
			have.Set(reflect.ValueOf(mergeNamed(o, list, as[[]gwv1.ListenerEntryStatus](want), listenerEntry)))
		default:
			have.Set(want)
		}
	}
}

// as returns the value of a field, the zero value if there is none.
func as[T any](v reflect.Value) T {
	if !v.IsValid() {
		return *new(T)
	}
	return v.Interface().(T)
}

// entry is an entry of a list of parents or ancestors.
type entry struct {
	ref        gwv1.ParentReference
	controller gwv1.GatewayController
	conditions *[]metav1.Condition
}

func parent(p *gwv1.RouteParentStatus) entry {
	return entry{p.ParentRef, p.ControllerName, &p.Conditions}
}

func ancestor(a *gwv1.PolicyAncestorStatus) entry {
	return entry{a.AncestorRef, a.ControllerName, &a.Conditions}
}

func backendAncestor(a *gwxv1a1.BackendAncestorStatus) entry {
	return entry{a.AncestorRef, a.ControllerName, &a.Conditions}
}

func (o owner) ours(c gwv1.GatewayController) bool { return slices.Contains(o.controllers, c) }

// mergeEntries leaves the entries of others where they are, and puts ours behind them.
func mergeEntries[T any](o owner, have, want []T, of func(*T) entry) []T {
	out := make([]T, 0, len(have)+len(want))
	for i := range have {
		if !o.ours(of(&have[i]).controller) {
			out = append(out, have[i])
		}
	}
	for _, w := range want {
		e := of(&w)
		var before []metav1.Condition
		for i := range have {
			if h := of(&have[i]); h.controller == e.controller && reflect.DeepEqual(h.ref, e.ref) {
				before = *h.conditions
			}
		}
		*e.conditions = o.conditions(before, *e.conditions)
		out = append(out, w)
	}
	return out
}

// mergeUsers merges what is said of an EnvoyProxy to those that use it. Such entries do not say whose they are: ours
// are those for our Gateways and classes, all others stay.
func mergeUsers(o owner, have, want []egv1a1.EnvoyProxyAncestorStatus) []egv1a1.EnvoyProxyAncestorStatus {
	out := slices.Clone(have)
	for _, w := range want {
		i := slices.IndexFunc(out, func(h egv1a1.EnvoyProxyAncestorStatus) bool {
			return reflect.DeepEqual(h.AncestorRef, w.AncestorRef)
		})
		if i < 0 {
			i = len(out)
			out = append(out, egv1a1.EnvoyProxyAncestorStatus{AncestorRef: w.AncestorRef})
		}
		out[i].Conditions = o.conditions(out[i].Conditions, w.Conditions)
	}
	return out
}

// named is a listener in a status.
type named struct {
	name       gwv1.SectionName
	conditions *[]metav1.Condition
}

func listener(l *gwv1.ListenerStatus) named           { return named{l.Name, &l.Conditions} }
func listenerEntry(l *gwv1.ListenerEntryStatus) named { return named{l.Name, &l.Conditions} }

// mergeNamed takes the listeners of want with the conditions that others have added to them.
func mergeNamed[T any](o owner, have, want []T, of func(*T) named) []T {
	out := make([]T, 0, len(want))
	for _, w := range want {
		l := of(&w)
		var before []metav1.Condition
		for i := range have {
			if h := of(&have[i]); h.name == l.name {
				before = *h.conditions
			}
		}
		*l.conditions = o.conditions(before, *l.conditions)
		out = append(out, w)
	}
	return out
}

// conditions returns the conditions of others as they are, then ours. A condition whose status stays keeps the time of
// its transition. One of which we do not know what it should be, Unknown, stays as it is if it ever was said.
func (o owner) conditions(have, want []metav1.Condition) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(have)+len(want))
	for _, h := range have {
		if !slices.Contains(standard, h.Type) && find(want, h.Type) == nil {
			out = append(out, h)
		}
	}
	for _, w := range want {
		w.LastTransitionTime = metav1.NewTime(o.now().Truncate(time.Second))
		h := find(have, w.Type)
		switch {
		case h == nil:
		case h.Status == w.Status:
			w.LastTransitionTime = h.LastTransitionTime
		case w.Status == metav1.ConditionUnknown:
			w = *h
		}
		out = append(out, w)
	}
	return out
}

func find(all []metav1.Condition, typ string) *metav1.Condition {
	for i := range all {
		if all[i].Type == typ {
			return &all[i]
		}
	}
	return nil
}

// claims says whether a status has entries that carry our name.
func (o owner) claims(have reflect.Value) bool {
	for i := range have.NumField() {
		switch list := have.Field(i).Interface().(type) {
		case []gwv1.RouteParentStatus:
			if slices.ContainsFunc(list, func(p gwv1.RouteParentStatus) bool { return o.ours(p.ControllerName) }) {
				return true
			}
		case []gwv1.PolicyAncestorStatus:
			if slices.ContainsFunc(list, func(a gwv1.PolicyAncestorStatus) bool { return o.ours(a.ControllerName) }) {
				return true
			}
		}
	}
	return false
}

// digest is a hash of what is ours in a status, without the times of transitions. Two statuses with one digest need no
// writing.
func (o owner) digest(status reflect.Value) (uint64, error) {
	zero := owner{controllers: o.controllers, now: func() time.Time { return time.Time{} }}
	out := reflect.New(status.Type()).Elem()
	for i := range status.NumField() {
		out.Field(i).Set(zero.own(status.Field(i)))
	}
	data, err := json.Marshal(out.Interface())
	if err != nil {
		return 0, fmt.Errorf("status: %w", err)
	}
	h := fnv.New64a()
	_, _ = h.Write(data)
	return h.Sum64(), nil
}

// own returns what is ours in a field of a status, in an order that does not depend on who wrote it.
func (o owner) own(field reflect.Value) reflect.Value {
	switch list := field.Interface().(type) {
	case []gwv1.RouteParentStatus:
		return reflect.ValueOf(ownEntries(o, list, parent))
	case []gwv1.PolicyAncestorStatus:
		return reflect.ValueOf(ownEntries(o, list, ancestor))
	case []metav1.Condition:
		return reflect.ValueOf(timeless(list))
	case []gwv1.ListenerStatus:
		return reflect.ValueOf(ownNamed(list, listener))
	case []gwv1.ListenerEntryStatus:
		return reflect.ValueOf(ownNamed(list, listenerEntry))
	}
	return field
}

func ownEntries[T any](o owner, list []T, of func(*T) entry) []T {
	out := make([]T, 0, len(list))
	for _, e := range list {
		if p := of(&e); o.ours(p.controller) {
			*p.conditions = timeless(*p.conditions)
			out = append(out, e)
		}
	}
	return out
}

func ownNamed[T any](list []T, of func(*T) named) []T {
	out := make([]T, 0, len(list))
	for _, l := range list {
		n := of(&l)
		*n.conditions = timeless(*n.conditions)
		out = append(out, l)
	}
	return out
}

// timeless returns our conditions by type, without times.
func timeless(all []metav1.Condition) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(all))
	for _, c := range all {
		if slices.Contains(standard, c.Type) {
			c.LastTransitionTime = metav1.Time{}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b metav1.Condition) int { return cmp.Or(strings.Compare(a.Type, b.Type)) })
	return out
}

// structOf returns the struct of a status that is compared and merged field by field: what a pointer points at, and of
// a status that only embeds another one (HTTPRouteStatus a RouteStatus) the embedded one.
func structOf(status any) (reflect.Value, bool) {
	v := reflect.ValueOf(status)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	if v.NumField() == 1 && v.Type().Field(0).Anonymous {
		v = v.Field(0)
	}
	return v, v.Kind() == reflect.Struct
}
