package fleet_test

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

func bootstrapPatch(how egv1a1.BootstrapType, value string) *egv1a1.ProxyBootstrap {
	return &egv1a1.ProxyBootstrap{Type: &how, Value: &value}
}

func operations(ops ...egv1a1.JSONPatchOperation) *egv1a1.ProxyBootstrap {
	how := egv1a1.BootstrapTypeJSONPatch
	return &egv1a1.ProxyBootstrap{Type: &how, JSONPatches: ops}
}

func operation(op egv1a1.JSONPatchOperationType, path, value string) egv1a1.JSONPatchOperation {
	out := egv1a1.JSONPatchOperation{Op: op, Path: &path}
	if value != "" {
		out.Value = &apiextensionsv1.JSON{Raw: []byte(value)}
	}
	return out
}

func TestPatch(t *testing.T) {
	base, err := fleet.Bootstrap(pod())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := fleet.JSON(base)
	if err != nil {
		t.Fatal(err)
	}
	replaced := strings.Replace(string(whole), `"stats_flush_on_admin": true`, `"stats_flush_interval": "7s"`, 1)
	tests := map[string]struct {
		patch *egv1a1.ProxyBootstrap
		// want is in the outcome, refusal in the error.
		want, refusal string
	}{
		"none":    {want: `"stats_flush_on_admin": true`},
		"replace": {patch: bootstrapPatch(egv1a1.BootstrapTypeReplace, replaced), want: `"stats_flush_interval": "7s"`},
		"merge": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeMerge, "stats_config: {stats_tags: [{tag_name: a, fixed_value: b}]}"),
			want:  `"tag_name": "a"`,
		},
		"patch": {
			patch: operations(operation("add", "/watchdogs", `{"main_thread_watchdog": {"miss_timeout": "3s"}}`)),
			want:  `"miss_timeout": "3s"`,
		},
		"no YAML": {patch: bootstrapPatch(egv1a1.BootstrapTypeMerge, "a: ["), refusal: "no YAML"},
		"unknown field": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeMerge, "nothing: {}"), refusal: "no bootstrap of Envoy",
		},
		"nothing": {patch: &egv1a1.ProxyBootstrap{}, refusal: "value is missing"},
		"no such path": {
			patch: operations(operation("remove", "/nowhere", "")), refusal: "jsonPatches[0]",
		},
		"replaced but for what is Sluice's": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeReplace, "stats_flush_interval: 7s"), want: `"sluice_xds"`,
		},
		"replaced with another xDS": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeReplace, "dynamic_resources: {}"), refusal: "dynamic_resources must stay",
		},
		"replaced with another cluster of that name": {
			patch:   bootstrapPatch(egv1a1.BootstrapTypeReplace, "static_resources: {clusters: [{name: sluice_xds}]}"),
			refusal: "cluster sluice_xds must stay",
		},
		"other xDS": {
			patch:   bootstrapPatch(egv1a1.BootstrapTypeMerge, "dynamic_resources: {lds_config: {path: /a}}"),
			refusal: "dynamic_resources must stay",
		},
		"other name": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeMerge, "node: {cluster: a/b}"), refusal: "node must stay",
		},
		"open admin": {
			patch: bootstrapPatch(egv1a1.BootstrapTypeMerge, "admin: {address: {pipe: {path: /a}}}"), refusal: "admin must",
		},
		"no TLS": {
			patch:   operations(operation("remove", "/static_resources/clusters/0/transport_socket", "")),
			refusal: "cluster sluice_xds must",
		},
		"no readiness": {
			patch: operations(operation("remove", "/static_resources/listeners/0", "")), refusal: "listener sluice_ready",
		},
		"by a JSON path": {
			patch: operations(egv1a1.JSONPatchOperation{
				Op: "add", JSONPath: ptr("$.static_resources.listeners[?(@.name=='mine')]"), Path: ptr("a"),
				Value: &apiextensionsv1.JSON{Raw: []byte("1")},
			}),
			refusal: "jsonPatches[0]: jsonPath: ",
		},
		"below a JSON path": {
			patch: operations(egv1a1.JSONPatchOperation{
				Op: "add", JSONPath: ptr("$.layered_runtime.layers[0].static_layer"), Path: ptr("mine"),
				Value: &apiextensionsv1.JSON{Raw: []byte("7")},
			}),
			want: `"mine": 7`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := fleet.Patch(base, test.patch)
			if test.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), test.refusal) {
					t.Errorf("error %v, want one with %q", err, test.refusal)
				}
				return
			}
			if err != nil || !strings.Contains(string(got), test.want) {
				t.Errorf("%v: no %s in\n%s", err, test.want, got)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }
