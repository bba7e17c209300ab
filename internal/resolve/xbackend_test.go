package resolve

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Pod takes requests when the EndpointSlice controller would say that it is ready; one that is shutting down but
// still answers is a last resort.
func TestPodView(t *testing.T) {
	ready := func(status corev1.ConditionStatus) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	}
	gone := &metav1.Time{Time: time.Unix(1, 0)}
	both := []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}
	tests := []struct {
		name string
		pod  corev1.Pod
		want pod
	}{
		{"written in a file", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1"}},
			pod{Addresses: []string{"10.0.0.1"}, Ready: true}},
		{"of two families", corev1.Pod{Status: corev1.PodStatus{PodIPs: both, Conditions: ready("True")}},
			pod{Addresses: []string{"10.0.0.1"}, Ready: true}},
		{"not scheduled", corev1.Pod{}, pod{Ready: true}},
		{"not ready", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1", Conditions: ready("False")}},
			pod{Addresses: []string{"10.0.0.1"}}},
		{"done", corev1.Pod{Status: corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodSucceeded}},
			pod{Addresses: []string{"10.0.0.1"}}},
		{"shutting down", corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: gone},
			Status:     corev1.PodStatus{PodIP: "10.0.0.1", Conditions: ready("True")},
		}, pod{Addresses: []string{"10.0.0.1"}, Draining: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(&tt.want, podView(&tt.pod)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
