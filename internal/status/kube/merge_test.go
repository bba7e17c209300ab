package kube

import (
	"reflect"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func user(name, message string, at time.Time) egv1a1.EnvoyProxyAncestorStatus {
	return egv1a1.EnvoyProxyAncestorStatus{
		AncestorRef: gwv1.ParentReference{Name: gwv1.ObjectName(name)},
		Conditions: []metav1.Condition{{
			Type: "Accepted", Status: metav1.ConditionTrue, Message: message, LastTransitionTime: metav1.NewTime(at),
		}},
	}
}

// TestUsersOfAnEnvoyProxy merges ancestors that do not say whose they are.
func TestUsersOfAnEnvoyProxy(t *testing.T) {
	before, now := time.Unix(1000, 0), time.Unix(2000, 0)
	o := owner{now: func() time.Time { return now }}
	have := egv1a1.EnvoyProxyStatus{Ancestors: []egv1a1.EnvoyProxyAncestorStatus{
		user("theirs", "stays", before), user("ours", "old", before),
	}}
	want := egv1a1.EnvoyProxyStatus{Ancestors: []egv1a1.EnvoyProxyAncestorStatus{
		user("ours", "new", time.Time{}), user("added", "new", time.Time{}),
	}}
	got := o.merge(reflect.ValueOf(have), reflect.ValueOf(want)).Interface()
	expected := egv1a1.EnvoyProxyStatus{Ancestors: []egv1a1.EnvoyProxyAncestorStatus{
		user("theirs", "stays", before), user("ours", "new", before), user("added", "new", now),
	}}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("ancestors (-want +got):\n%s", diff)
	}
}

// TestUnknownIsNotWritten merges a condition of which we do not know what it should be.
func TestUnknownIsNotWritten(t *testing.T) {
	before, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	o := owner{now: func() time.Time { return now.Time }}
	unknown := metav1.Condition{Type: "Programmed", Status: metav1.ConditionUnknown, ObservedGeneration: 2, Message: "new"}
	for name, have := range map[string][]metav1.Condition{
		"said to be so":     {{Type: "Programmed", Status: metav1.ConditionTrue, ObservedGeneration: 1, Message: "old"}},
		"said not to be so": {{Type: "Programmed", Status: metav1.ConditionFalse, ObservedGeneration: 1, Message: "old"}},
		"never said":        {{Type: "Programmed", Status: metav1.ConditionUnknown, Message: "default"}},
		"not there":         {},
	} {
		t.Run(name, func(t *testing.T) {
			want := unknown
			want.LastTransitionTime = now
			for i := range have {
				have[i].LastTransitionTime = before
				want.LastTransitionTime = before
				if have[i].Status != metav1.ConditionUnknown {
					want = have[i]
				}
			}
			if diff := cmp.Diff([]metav1.Condition{want}, o.conditions(have, []metav1.Condition{unknown})); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}
