package resolve

import (
	"reflect"
	"slices"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// clientFields returns what the ClientTrafficPolicy that holds for a listener asks for, nothing if there is none.
func (t *Tables) clientFields(r *incr.Reader, listener model.ListenerKey) *policyFields {
	name, _, ok := t.holdingPolicy(r, listener, model.KindClientTrafficPolicy)
	if !ok {
		return &policyFields{}
	}
	return t.fieldsOf(r, mergedKey{Kind: model.KindClientTrafficPolicy, Own: name})
}

// clientRival returns a plain HTTP listener of the port whose ClientTrafficPolicy asks for something else.
func (t *Tables) clientRival(r *incr.Reader, port model.Port, own *policyFields) (model.ListenerKey, bool) {
	for i := range port.Listeners {
		key := port.Listeners[i].Key
		if other := t.clientFields(r, key); other.Denied != own.Denied || !sameAsk(other.Attached, own.Attached) {
			return key, true
		}
	}
	return model.ListenerKey{}, false
}

// sameAsk says whether two policies ask for the same, wherever they say so.
func sameAsk(a, b []model.Attached) bool {
	return slices.EqualFunc(a, b, func(x, y model.Attached) bool {
		x.Source, y.Source = model.Ref{}, model.Ref{}
		return reflect.DeepEqual(x, y)
	})
}

// unshared is what is left of a policy where others share its connection manager: nothing, and no request gets in if
// the policy guards.
func (t *Tables) unshared(fields *policyFields) *policyFields {
	out := &policyFields{Denied: fields.Denied}
	for _, a := range fields.Attached {
		if t.guardsField(a.Feature) {
			out.Denied = "ConflictedClientTrafficPolicy"
		}
	}
	return out
}
