package patch

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
)

// A route waits for every cluster that it names, wherever it does, and for none that only requests name.
func TestNeedsOf(t *testing.T) {
	for name, c := range map[string]struct {
		route             string
		clusters, needsOf []string
	}{
		"a cluster":   {`{"route": {"cluster": "a"}}`, []string{"a"}, []string{"a"}},
		"one of many": {`{"route": {"weighted_clusters": {"clusters": [{"name": "a"}]}}}`, []string{"a"}, []string{"a"}},
		"weighted clusters": {
			`{"route": {"weighted_clusters": {"clusters": [{"name": "b"}, {"name": "a"}]}}}`,
			[]string{"b", "a"}, []string{"b", "a"},
		},
		"a mirror": {
			`{"route": {"cluster": "a", "request_mirror_policies": [{"cluster": "m"}, {"cluster": "n"}]}}`,
			[]string{"a"}, []string{"a", "m", "n"},
		},
		"a mirror of weighted clusters": {
			`{"route": {"weighted_clusters": {"clusters": [{"name": "a"}, {"name": "b"}]},
			  "request_mirror_policies": [{"cluster": "m"}]}}`,
			[]string{"a", "b"}, []string{"a", "b", "m"},
		},
		"a mirror of what a header names": {
			`{"route": {"cluster_header": "x-to", "request_mirror_policies": [{"cluster": "m"}, {"cluster_header": "x-m"}]}}`,
			nil, []string{"m"},
		},
		"a header beside a name": {
			`{"route": {"weighted_clusters": {"clusters": [{"cluster_header": "x-to"}, {"name": "a"}]}}}`,
			[]string{"a"}, []string{"a"},
		},
		"a redirect":        {`{"redirect": {"path_redirect": "/"}}`, nil, nil},
		"a direct response": {`{"direct_response": {"status": 418}}`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			route := read(t, c.route, &routev3.Route{})
			if diff := cmp.Diff(c.clusters, ClustersOf(route)); diff != "" {
				t.Errorf("it sends requests to others (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.needsOf, NeedsOf(route)); diff != "" {
				t.Errorf("it waits for others (-want +got):\n%s", diff)
			}
		})
	}
}
