package accesslog

import (
	"fmt"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.ProxyAccessLog](t, Feature{Pods: true}) }

func TestCheck(t *testing.T) {
	const file = "sinks: [{type: File, file: {path: /dev/stdout}}]"
	tests := []struct{ name, setting, want string }{
		{"an operator that is none", "format: {text: '%NOPE%'}, " + file, "knows no command operator %NOPE%"},
		{"in a field", "format: {json: {a: '100%'}}, " + file, "field \"a\""},
		{"an expression that is none", "matches: ['a ==']," + file, "Invalid CEL expression"},
		{"an expression", "matches: ['response.code == 200']," + file, ""},
		{"a path that is not absolute", "sinks: [{type: File, file: {path: log}}]", "start it with a slash"},
		{"no service", "sinks: [{type: ALS, als: {type: HTTP}}]", "nobody to report to"},
		{"two services", "sinks: [{type: ALS, als: {type: HTTP, backendRefs: [{name: a}, {name: b}]}}]", "2 backends"},
		{"a header that is none", "sinks: [{type: ALS, als: {type: HTTP, backendRefs: [{name: a}], " +
			"http: {requestHeaders: ['x y']}}}]", "Invalid header"},
		{"a header with a format", "sinks: [{type: OpenTelemetry, openTelemetry: {backendRefs: [{name: a}], " +
			"headers: [{name: x-a, value: '%REQ(x)%'}]}}]", "percent sign"},
		{"a header that frames", "sinks: [{type: OpenTelemetry, openTelemetry: {backendRefs: [{name: a}], " +
			"headers: [{name: content-length, value: '1'}]}}]", "Invalid header"},
		{"nowhere", "sinks: [{type: File}]", "The sink is nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var spec egv1a1.ProxyAccessLog
			if err := yaml.UnmarshalStrict([]byte(fmt.Sprintf("settings: [{%s}]", tt.setting)), &spec); err != nil {
				t.Fatal(err)
			}
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &spec}, nil), tt.want)
		})
	}
}
