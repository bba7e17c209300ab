package podsecurity

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestViolations(t *testing.T) {
	const restricted = `{allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]},
    seccompProfile: {type: RuntimeDefault}}`
	for name, test := range map[string]struct{ pod, want string }{
		"fine": {"containers: [{name: a, securityContext: " + restricted + "}]", ""},
		"root": {"containers: [{name: a, securityContext: " + strings.Replace(restricted, "true", "false", 1) + "}]",
			"runAsNonRoot"},
		"host":  {"hostNetwork: true, containers: [{name: a, securityContext: " + restricted + "}]", "host namespaces"},
		"plain": {"containers: [{name: a}]", "seccompProfile"},
	} {
		t.Run(name, func(t *testing.T) {
			var workload map[string]any
			if err := yaml.Unmarshal([]byte("spec: {template: {spec: {"+test.pod+"}}}"), &workload); err != nil {
				t.Fatal(err)
			}
			got, err := Violations(workload)
			if err != nil || (len(got) == 0) != (test.want == "") || !strings.Contains(strings.Join(got, "\n"), test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
	if _, err := Violations(map[string]any{"kind": "Service"}); err == nil {
		t.Error("an object without pods is judged")
	}
}
