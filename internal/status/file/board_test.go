package file

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Each condition keeps the time of its last transition, whatever else of the status changes around it.
func TestTransitionTimes(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBoard(func() time.Time { return now })
	ref := model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: model.Name{Namespace: "ns", Name: "gw"}}
	listener := func(name string, conditions ...metav1.Condition) gwv1.ListenerStatus {
		return gwv1.ListenerStatus{Name: gwv1.SectionName(name), Conditions: conditions}
	}
	yes := status.True(status.Accepted, "Accepted", "fine", 1)
	no := status.False(status.Accepted, "Invalid", "not fine", 2)
	steps := []struct {
		at        int64
		listeners []gwv1.ListenerStatus
		want      map[string]int64
	}{
		{1000, []gwv1.ListenerStatus{listener("a", yes)}, map[string]int64{"a": 1000}},
		{2000, []gwv1.ListenerStatus{listener("b", yes), listener("a", yes)}, map[string]int64{"a": 1000, "b": 2000}},
		{3000, []gwv1.ListenerStatus{listener("a", no), listener("b", yes)}, map[string]int64{"a": 3000, "b": 2000}},
		{4000, []gwv1.ListenerStatus{listener("b", yes)}, map[string]int64{"b": 2000}},
		{5000, []gwv1.ListenerStatus{listener("a", no), listener("b", yes)}, map[string]int64{"a": 5000, "b": 2000}},
	}
	for _, s := range steps {
		now = time.Unix(s.at, 0)
		b.Put(ref, "v1", 1, &gwv1.GatewayStatus{Listeners: s.listeners})
		objects := b.List(nil)
		if len(objects) != 1 {
			t.Fatalf("there are %d objects", len(objects))
		}
		for _, l := range objects[0].Status.(*gwv1.GatewayStatus).Listeners {
			if got := l.Conditions[0].LastTransitionTime.Unix(); got != s.want[string(l.Name)] {
				t.Errorf("at %d listener %s has the time %d, want %d", s.at, l.Name, got, s.want[string(l.Name)])
			}
		}
		if !s.listeners[0].Conditions[0].LastTransitionTime.IsZero() {
			t.Error("the status that was put was changed")
		}
	}
	b.Delete(ref)
	if objects := b.List(nil); len(objects) != 0 {
		t.Errorf("after it was deleted there is %v", objects)
	}
}
