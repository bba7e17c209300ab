package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// object is an object as the admin API shows it, with the statuses of Gateways and routes.
type object struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		Conditions []metav1.Condition          `json:"conditions"`
		Listeners  []gwv1.ListenerStatus       `json:"listeners"`
		Parents    []gwv1.RouteParentStatus    `json:"parents"`
		Ancestors  []gwv1.PolicyAncestorStatus `json:"ancestors"`
	} `json:"status"`
}

// objects returns all objects that have a status.
func (in *instance) objects() ([]object, error) {
	body, err := in.get("/status")
	if err != nil {
		return nil, err
	}
	var out []object
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("GET /status: %w: %s", err, body)
	}
	return out, nil
}

// conditionWant is a condition that an object has to get.
type conditionWant struct {
	// kind and name (namespace/name) of the object, listener of a Gateway or "" for its own conditions. Of a route the
	// first parent is looked at, of a policy the first ancestor.
	kind, name, listener string
	// condition is "Type=Status/Reason", for example "Programmed=True/Programmed".
	condition string
	// message is a part of the condition's message, without regard to case.
	message string
	// absent means that no condition may begin like this.
	absent bool
}

// condition waits until an object has a condition.
func (in *instance) condition(t *testing.T, want conditionWant) {
	t.Helper()
	eventually(t, func() error {
		all, err := in.objects()
		if err != nil {
			return err
		}
		for i := range all {
			o := &all[i]
			if o.Kind == want.kind && o.Metadata.Namespace+"/"+o.Metadata.Name == want.name {
				return want.check(o.conditions(want.listener))
			}
		}
		return fmt.Errorf("%s %s has no status", want.kind, want.name)
	})
}

func (o *object) conditions(listener string) []metav1.Condition {
	switch {
	case listener != "":
		for _, l := range o.Status.Listeners {
			if string(l.Name) == listener {
				return l.Conditions
			}
		}
		return nil
	case len(o.Status.Parents) > 0:
		return o.Status.Parents[0].Conditions
	case len(o.Status.Ancestors) > 0:
		return o.Status.Ancestors[0].Conditions
	default:
		return o.Status.Conditions
	}
}

func (w conditionWant) check(conditions []metav1.Condition) error {
	var have []string
	found := false
	for _, c := range conditions {
		text := fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason)
		if w.absent {
			found = found || strings.HasPrefix(text, w.condition)
		} else {
			anyReason := !strings.Contains(w.condition, "/") && strings.HasPrefix(text, w.condition+"/")
			found = found || (text == w.condition || anyReason) && contains(c.Message, w.message)
		}
		have = append(have, text+": "+c.Message)
	}
	if found != w.absent {
		return nil
	}
	return fmt.Errorf("%s %s %s has %q, want %+v", w.kind, w.name, w.listener, have, w)
}
