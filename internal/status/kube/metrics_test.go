package kube_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gateway/sluice/internal/status/kube"
)

// metrics are the values of the writer's metrics, by name and labels.
func metrics(t *testing.T, w *kube.Writer) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// testCounted has one status written, and one that the API server refuses and that waits therefore.
func testCounted(t *testing.T, f *fixture) {
	f.objects.Apply(t, fmt.Sprintf(gateway, "counted"))
	f.objects.Apply(t, fmt.Sprintf(gateway, "refused"))
	w, _ := f.writer(t)
	w.Put(ref("Gateway", "counted"), gatewayStatus(0, true))
	bad := gatewayStatus(0, true)
	bad.Conditions[0].Reason = "no reason"
	w.Put(ref("Gateway", "refused"), bad)
	const (
		waiting = "sluice_status_waiting"
		ok      = "sluice_status_writes_total ok"
		failed  = "sluice_status_writes_total failed"
	)
	want := map[string]float64{waiting: 0, ok: 0, failed: 0}
	if diff := cmp.Diff(want, metrics(t, w)); diff != "" {
		t.Errorf("before it leads: %s", diff)
	}
	lead(t, w)
	want = map[string]float64{waiting: 1, ok: 1, failed: 1}
	var got map[string]float64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = metrics(t, w)
		got[failed] = min(got[failed], 1) // it is tried again and again
		if maps.Equal(got, want) {
			return
		}
	}
	t.Errorf("while it leads: %s", cmp.Diff(want, got))
}
