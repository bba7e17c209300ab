package extproc

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[[]egv1a1.ExtProc](t, Feature{}) }

func ptr[T any](v T) *T { return &v }

func to(names ...string) egv1a1.ExtProc {
	var out egv1a1.ExtProc
	for _, name := range names {
		out.BackendRefs = append(out.BackendRefs, egv1a1.BackendRef{
			BackendObjectReference: gwv1.BackendObjectReference{Name: gwv1.ObjectName(name)},
		})
	}
	return out
}

func TestCheck(t *testing.T) {
	impatient, fallback, idle := to("a"), to("a"), to("a")
	idle.BackendRefs[0].Weight = ptr(uint32(0))
	impatient.MessageTimeout = ptr(gwv1.Duration("0s"))
	patient := to("a")
	patient.MessageTimeout = ptr(gwv1.Duration("61m"))
	fallback.BackendRefs[0].Fallback = ptr(true)
	for want, p := range map[string]egv1a1.ExtProc{
		"": to("a"), "There is no server": to(), "No backend would get requests": idle,
		"no other backend": fallback, "too short": impatient, "at most 1h": patient,
	} {
		got := Feature{}.Check(model.Attached{Spec: []egv1a1.ExtProc{p}}, nil)
		featuretest.Expect(t, got, want)
	}
}

// TestReferences says that only servers that fail open can be missing.
func TestReferences(t *testing.T) {
	open := to("b")
	open.FailOpen = ptr(true)
	open.BackendSettings = &egv1a1.ClusterSettings{}
	got := map[string]bool{}
	for _, ref := range (Feature{}).References(model.Attached{
		Path: "spec.extProc", Spec: []egv1a1.ExtProc{to("a"), open},
	}) {
		got[ref.Path] = ref.Optional
		if ref.Use != model.AppGRPC || (ref.Settings != nil) != ref.Optional {
			t.Errorf("%s is for %q with settings %v", ref.Path, ref.Use, ref.Settings)
		}
	}
	want := map[string]bool{"spec.extProc[0].backendRefs[0]": false, "spec.extProc[1].backendRefs[0]": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
