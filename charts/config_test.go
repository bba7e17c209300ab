package charts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
)

const configured = `
rateLimit: {enabled: true, replicas: 2}
config:
  gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
  provider:
    type: Kubernetes
    kubernetes:
      watch: {type: Namespaces, namespaces: [shop]}
      leaderElection: {leaseDuration: 20s}
  logging: {level: {default: warn}}
  rateLimit:
    backend:
      type: Redis
      redis:
        urlRef: {secretKeyRef: {name: redis, key: url}}
        tls: {certificateRef: {name: redis-tls}}
    failClosed: true
`

// configOf writes the file in the ConfigMap, and reads it for a program.
func configOf(t *testing.T, objects []object, program envoygateway.Program) *envoygateway.Config {
	t.Helper()
	text, ok := find(t, objects, "ConfigMap").at("data", "config.yaml").(string)
	if !ok {
		t.Fatal("the ConfigMap has no config.yaml")
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := envoygateway.Load(path, program)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func byName(t *testing.T, objects []object, kind, name string) object {
	t.Helper()
	i := slices.IndexFunc(objects, func(o object) bool { return o.kind() == kind && o.name() == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return objects[i]
}

func containerOf(t *testing.T, deployment object) object {
	t.Helper()
	return object(deployment.at("spec", "template", "spec", "containers").([]any)[0].(map[string]any))
}

// mounts returns the paths at which a pod finds volumes, by the name of the ConfigMap or Secret.
func mounts(t *testing.T, deployment object) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range containerOf(t, deployment).at("volumeMounts").([]any) {
		mount := object(m.(map[string]any))
		for _, v := range deployment.at("spec", "template", "spec", "volumes").([]any) {
			volume := object(v.(map[string]any))
			if volume["name"] != mount["name"] {
				continue
			}
			for _, from := range []any{volume.at("configMap", "name"), volume.at("secret", "secretName")} {
				if from != nil {
					out[from.(string)] = mount.at("mountPath").(string)
				}
			}
		}
	}
	return out
}

// TestConfig checks that the configuration file arrives, and that what the chart itself has to know follows it.
func TestConfig(t *testing.T) {
	objects := render(t, configured)
	c := configOf(t, objects, envoygateway.Serve)
	if c.Gateway.ControllerName == "" || !c.RateLimit.FailClosed || c.Kubernetes().LeaderElection == nil {
		t.Errorf("the file says less than the values: %+v", c.EnvoyGatewaySpec)
	}
	controlPlane := byName(t, objects, "Deployment", "sluice")
	args := containerOf(t, controlPlane).at("args").([]any)
	for arg, want := range map[string]bool{
		"--config=/etc/sluice/config/config.yaml":                         true,
		"--controller-name=gateway.envoyproxy.io/gatewayclass-controller": true,
		"--controller-name=sluice.dev/gateway-controller":                 false,
		"--watch-namespace=shop":                                          true,
		"--ratelimit-fail-closed=false":                                   false,
	} {
		if slices.Contains(args, any(arg)) != want {
			t.Errorf("argument %s: want %v in %v", arg, want, args)
		}
	}
	if diff := cmp.Diff(map[string]string{"sluice-config": "/etc/sluice/config"}, mounts(t, controlPlane)); diff != "" {
		t.Error(diff)
	}
	if got := find(t, objects, "GatewayClass").at("spec", "controllerName"); got != c.Gateway.ControllerName {
		t.Errorf("the GatewayClass is of %v", got)
	}
	if !slices.Contains(names(objects), "RoleBinding sluice-system.sluice-namespaced in shop") {
		t.Error("there are no rights in the namespace that is watched")
	}
	counter := byName(t, objects, "Deployment", "sluice-ratelimit")
	if diff := cmp.Diff(map[string]string{
		"sluice-config": "/etc/sluice/config", "redis-tls": "/etc/sluice/redis",
		"sluice-ratelimit-identity": "/etc/sluice/identity",
	}, mounts(t, counter)); diff != "" {
		t.Error(diff)
	}
	from := object(containerOf(t, counter).at("env").([]any)[0].(map[string]any)).at("valueFrom", "secretKeyRef")
	if diff := cmp.Diff(map[string]any{"name": "redis", "key": "url"}, from); diff != "" {
		t.Errorf("the URL of Redis (-want +got):\n%s", diff)
	}
}

// TestConfigReplacesPods checks that a change of the file is a change of the pods, which read it at their start only.
func TestConfigReplacesPods(t *testing.T) {
	annotations := func(values string) any {
		return byName(t, render(t, values), "Deployment", "sluice").at("spec", "template", "metadata", "annotations")
	}
	before, after := annotations("config: {logging: {level: {default: warn}}}"),
		annotations("config: {logging: {level: {default: info}}}")
	if cmp.Equal(before, after) {
		t.Errorf("the pods are the same: %v", before)
	}
	if diff := cmp.Diff(annotations("{}"), annotations("config: {}")); diff != "" {
		t.Error(diff)
	}
}

// TestConfigOfEnvoyGateway checks that the file may be where the chart of Envoy Gateway has it, and that nothing
// depends on where it is.
func TestConfigOfEnvoyGateway(t *testing.T) {
	rendered := func(values string) string {
		r := Release{Name: "sluice", Namespace: "sluice-system"}
		if err := yaml.Unmarshal([]byte(values), &r.Values); err != nil {
			t.Fatal(err)
		}
		m, err := r.Render()
		if err != nil {
			t.Fatal(err)
		}
		return m.String()
	}
	head, file, _ := strings.Cut(configured, "config:\n")
	theirs := head + "config:\n  envoyGateway:\n  " + strings.ReplaceAll(file, "\n  ", "\n    ")
	const large = "{xdsServer: {maxReceiveMessageSize: 268435456}}"
	for ours, theirs := range map[string]string{
		configured:         theirs,
		"config: {}":       "config: {envoyGateway: {}}",
		"config: " + large: "config: {envoyGateway: " + large + "}",
	} {
		if diff := cmp.Diff(rendered(ours), rendered(theirs)); diff != "" {
			t.Errorf("%s (-ours +theirs):\n%s", theirs, diff)
		}
	}
	// The one value that their documents set, without the provider's type that their chart has by itself.
	const deploy = "config: {envoyGateway: {provider: {kubernetes: {deploy: {type: GatewayNamespace}}}}}"
	if c := configOf(t, render(t, deploy), envoygateway.Serve); len(c.Notices) > 0 {
		t.Errorf("%s is noticed: %v", deploy, c.Notices)
	}
}
