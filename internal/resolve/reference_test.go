package resolve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestLocalReference: the group v1, which schemas of Envoy Gateway admit, is the core group, and no other is.
func TestLocalReference(t *testing.T) {
	for written, want := range map[gwv1.Group]string{"": "", "v1": "", "v2": "v2", "apps": "apps"} {
		got := LocalReference(gwv1.LocalObjectReference{Group: written, Kind: "ConfigMap", Name: "script"})
		if diff := cmp.Diff(&ObjectReference{Group: want, Kind: "ConfigMap", Name: "script"}, got); diff != "" {
			t.Errorf("group %q: %s", written, diff)
		}
	}
}
