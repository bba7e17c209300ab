package charts

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/test/podsecurity"
)

// object is a manifest.
type object map[string]any

func (o object) kind() string { return o["kind"].(string) }

func (o object) name() string { return o["metadata"].(map[string]any)["name"].(string) }

// at returns what a path of fields leads to, nil if there is nothing.
func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, field := range path {
		m, _ := v.(map[string]any)
		v = m[field]
	}
	return v
}

// parse returns the objects of manifests.
func parse(t *testing.T, docs []string) []object {
	t.Helper()
	var out []object
	for _, doc := range docs {
		for part := range strings.SplitSeq("\n"+doc, "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(part), &o); err != nil {
				t.Fatalf("%v:\n%s", err, part)
			}
			if len(o) > 0 {
				out = append(out, o)
			}
		}
	}
	return out
}

// render renders the chart with values given as YAML.
func render(t *testing.T, values string) []object {
	t.Helper()
	r := Release{Name: "sluice", Namespace: "sluice-system"}
	if err := yaml.Unmarshal([]byte(values), &r.Values); err != nil {
		t.Fatal(err)
	}
	m, err := r.Render()
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, m.Objects)
}

// find returns the only object of a kind.
func find(t *testing.T, objects []object, kind string) object {
	t.Helper()
	var found []object
	for _, o := range objects {
		if o.kind() == kind {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want 1", len(found), kind)
	}
	return found[0]
}

func names(objects []object) []string {
	var out []string
	for _, o := range objects {
		name := o.kind() + " " + o.name()
		if ns := o.at("metadata", "namespace"); ns != nil {
			name += " in " + ns.(string)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TestObjects is what an installation consists of.
func TestObjects(t *testing.T) {
	standard := []string{
		"ClusterRole sluice-system.sluice-cluster",
		"ClusterRole sluice-system.sluice-namespaced",
		"ClusterRoleBinding sluice-system.sluice-cluster",
		"ClusterRoleBinding sluice-system.sluice-namespaced",
		"Deployment sluice in sluice-system",
		"GatewayClass sluice",
		"PodDisruptionBudget sluice in sluice-system",
		"Role sluice-own in sluice-system",
		"RoleBinding sluice-own in sluice-system",
		"Service sluice in sluice-system",
		"ServiceAccount sluice in sluice-system",
	}
	for _, test := range []struct {
		name, values string
		more, less   []string
	}{
		{name: "defaults"},
		{
			name: "some namespaces", values: "watchNamespaces: [shop, sluice-system]",
			more: []string{
				"RoleBinding sluice-system.sluice-namespaced in shop",
				"RoleBinding sluice-system.sluice-namespaced in sluice-system",
			},
			less: []string{"ClusterRoleBinding sluice-system.sluice-namespaced"},
		},
		{name: "one replica", values: "replicas: 1", less: []string{"PodDisruptionBudget sluice in sluice-system"}},
		{
			name: "everything", values: "{networkPolicy: {enabled: true}, metrics: {serviceMonitor: {enabled: true}}}",
			more: []string{"NetworkPolicy sluice in sluice-system", "ServiceMonitor sluice in sluice-system"},
		},
		{
			name: "rate limits", values: "{networkPolicy: {enabled: true}, rateLimit: {enabled: true}}",
			more: []string{
				"Deployment sluice-ratelimit in sluice-system", "NetworkPolicy sluice in sluice-system",
				"NetworkPolicy sluice-ratelimit in sluice-system", "Service sluice-ratelimit in sluice-system",
			},
		},
		{name: "no class", values: "gatewayClass: {create: false}", less: []string{"GatewayClass sluice"}},
		{
			name: "others' account", values: "serviceAccount: {create: false, name: theirs}",
			less: []string{
				"ClusterRole sluice-system.sluice-cluster", "ClusterRole sluice-system.sluice-namespaced",
				"ClusterRoleBinding sluice-system.sluice-cluster", "ClusterRoleBinding sluice-system.sluice-namespaced",
				"Role sluice-own in sluice-system",
				"RoleBinding sluice-own in sluice-system", "ServiceAccount sluice in sluice-system",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := append(slices.Clone(standard), test.more...)
			want = slices.DeleteFunc(want, func(name string) bool { return slices.Contains(test.less, name) })
			slices.Sort(want)
			objects := render(t, test.values)
			if diff := cmp.Diff(want, names(objects)); diff != "" {
				t.Error(diff)
			}
			for _, o := range objects {
				if o.at("metadata", "labels", "app.kubernetes.io/instance") != "sluice" {
					t.Errorf("%s %s has no label that says which release it is of", o.kind(), o.name())
				}
			}
		})
	}
}

// TestArguments checks what of the values reaches the command line and the pod.
func TestArguments(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	objects := render(t, `
image: {repository: r.example/sluice, digest: "`+digest+`"}
imagePullSecrets: [pull]
envoy: {image: r.example/envoy:1}
controllerNames: [sluice.dev/gateway-controller, gateway.envoyproxy.io/gatewayclass-controller]
extraArgs: [--lease-duration=30s]
watchNamespaces: [shop, web]
certificates: {caSecret: ca}
gatewayClass: {name: edge, parametersRef: {name: defaults}}
`)
	pod := find(t, objects, "Deployment").at("spec", "template", "spec").(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	want := []any{
		"serve",
		"--controller-name=sluice.dev/gateway-controller",
		"--controller-name=gateway.envoyproxy.io/gatewayclass-controller",
		"--xds-address=0.0.0.0:18000",
		"--admin-address=0.0.0.0:19001",
		"--service=sluice",
		"--cluster-domain=cluster.local",
		"--sluice-image=r.example/sluice@" + digest,
		"--envoy-image=r.example/envoy:1",
		"--watch-namespace=shop",
		"--watch-namespace=web",
		"--ca-secret=ca",
		"--lease-duration=30s",
	}
	if diff := cmp.Diff(want, container["args"]); diff != "" {
		t.Errorf("arguments: %s", diff)
	}
	if got := container["image"]; got != "r.example/sluice@"+digest {
		t.Errorf("image %v", got)
	}
	if diff := cmp.Diff([]any{map[string]any{"name": "pull"}}, pod["imagePullSecrets"]); diff != "" {
		t.Error(diff)
	}
	class := find(t, objects, "GatewayClass")
	wantClass := map[string]any{
		"controllerName": "sluice.dev/gateway-controller",
		"parametersRef": map[string]any{
			"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "defaults", "namespace": "sluice-system",
		},
	}
	if diff := cmp.Diff(wantClass, class["spec"]); class.name() != "edge" || diff != "" {
		t.Errorf("GatewayClass %s: %s", class.name(), diff)
	}
}

// TestRateLimit checks what of the values reaches both command lines and where the service finds its Redis.
func TestRateLimit(t *testing.T) {
	pods := map[string]object{}
	for _, o := range render(t, `
rateLimit:
  enabled: true
  replicas: 3
  failClosed: true
  timeout: 25ms
  redis: {urlSecret: {name: redis, key: url}, tlsSecret: redis-tls}
`) {
		if o.kind() == "Deployment" {
			pods[o.name()] = o
		}
	}
	container := func(deployment string) object {
		containers, _ := pods[deployment].at("spec", "template", "spec", "containers").([]any)
		return containers[0].(map[string]any)
	}
	for deployment, want := range map[string][]any{
		"sluice": {"--ratelimit-service=sluice-ratelimit", "--ratelimit-fail-closed=true", "--ratelimit-timeout=25ms"},
		"sluice-ratelimit": {
			"ratelimit", "--address=0.0.0.0:18002", "--tls-dir=/etc/sluice/identity", "--redis-tls-dir=/etc/sluice/redis",
		},
	} {
		args := container(deployment)["args"].([]any)
		for _, arg := range want {
			if !slices.Contains(args, arg) {
				t.Errorf("%s is started without %s: %v", deployment, arg, args)
			}
		}
	}
	env := container("sluice-ratelimit")["env"].([]any)[0]
	if diff := cmp.Diff(any(map[string]any{
		"name": "SLUICE_REDIS_URL", "valueFrom": map[string]any{
			"secretKeyRef": map[string]any{"name": "redis", "key": "url"},
		},
	}), env); diff != "" {
		t.Error(diff)
	}
	// serve keeps the certificate under this name.
	volumes := pods["sluice-ratelimit"].at("spec", "template", "spec", "volumes").([]any)
	if got := object(volumes[0].(map[string]any)).at("secret", "secretName"); got != "sluice-ratelimit-identity" {
		t.Errorf("the certificate is expected in Secret %v", got)
	}
}

// TestA55PodsAreRestricted holds the pods of an installation to the restricted level of the Pod Security Standards, and
// to a file system that cannot be written to.
func TestA55PodsAreRestricted(t *testing.T) {
	judged := 0
	for _, o := range render(t, "{rateLimit: {enabled: true, redis: {tlsSecret: redis-tls}}, config: {logging: {}}}") {
		if o.kind() != "Deployment" {
			continue
		}
		judged++
		violations, err := podsecurity.Violations(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range violations {
			t.Errorf("%s: %s", o.name(), v)
		}
		for _, c := range o.at("spec", "template", "spec", "containers").([]any) {
			container := object(c.(map[string]any))
			if container.at("securityContext", "readOnlyRootFilesystem") != true {
				t.Errorf("%s: the container %v can write to its file system", o.name(), container["name"])
			}
			for _, of := range []string{"requests", "limits"} {
				if container.at("resources", of, "memory") == nil {
					t.Errorf("%s: the container %v says nothing about memory in %s", o.name(), container["name"], of)
				}
			}
		}
	}
	if judged != 2 {
		t.Errorf("%d Deployments, want those of the control plane and of rate limits", judged)
	}
}

// TestRefusedValues checks that mistakes in values are found before anything is installed, and what is said.
func TestRefusedValues(t *testing.T) {
	for name, test := range map[string]struct{ values, want string }{
		"unknown":         {"replica: 3", "'replica' not allowed"},
		"unknown below":   {"image: {name: x}", "'name' not allowed"},
		"both channels":   {"crds: {standard: true}", "set one of them to false"},
		"no controller":   {"controllerNames: []", "minItems"},
		"bad controller":  {"controllerNames: [sluice]", "/controllerNames/0"},
		"nameless":        {"gatewayClass: {parametersRef: {namespace: a}}", "give it a name"},
		"no replicas":     {"replicas: 0", "/replicas"},
		"bad digest":      {"image: {digest: sha256:abc}", "/image/digest"},
		"bad namespace":   {"watchNamespaces: [A]", "/watchNamespaces/0"},
		"default removed": {"crds: null", "missing property 'crds'"},
		"not shared":      {"rateLimit: {enabled: true, replicas: 2}", "counters in memory are not shared"},
		"two Redis":       {"rateLimit: {redis: {url: a, urlSecret: {name: a, key: b}}}", "keep one of them"},
		"no key":          {"rateLimit: {redis: {urlSecret: {name: a}}}", "a key in it"},
		"nobody counts":   {"config: {rateLimit: {failClosed: true}}", "set rateLimit.enabled"},
		"two files": {
			"config: {envoyGateway: {logging: {}}, gateway: {}, admin: {}}", "move admin, gateway into it",
		},
		"no file":         {"config: {envoyGateway: []}", "/config/envoyGateway"},
		"labels not text": {"podLabels: {a: 1}", "/podLabels/a"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Release{Name: "sluice", Namespace: "sluice-system"}
			if err := yaml.Unmarshal([]byte(test.values), &r.Values); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Render(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestCRDs counts the CRDs of each choice. No two are the same, and none has a description.
func TestCRDs(t *testing.T) {
	for name, test := range map[string]struct {
		values map[string]any
		crds   int
		policy bool // safe upgrades of the Gateway API's CRDs
	}{
		"experimental":  {map[string]any{}, 14 + 8, true},
		"standard":      {map[string]any{"experimental": false, "standard": true}, 10 + 8, true},
		"policies only": {map[string]any{"experimental": false}, 8, false},
		"none":          {map[string]any{"experimental": false, "policies": false}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Release{Name: "sluice", Namespace: "a", Values: map[string]any{"crds": test.values}}.Render()
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			crds, policy := 0, false
			for _, o := range parse(t, m.CRDs) {
				if id := o.kind() + o.name(); seen[id] {
					t.Errorf("%s twice", id)
				} else {
					seen[id] = true
				}
				switch o.kind() {
				case "CustomResourceDefinition":
					crds++
				case "ValidatingAdmissionPolicy":
					policy = true
				}
			}
			if crds != test.crds || policy != test.policy {
				t.Errorf("%d CRDs, want %d; safe upgrades %v, want %v", crds, test.crds, policy, test.policy)
			}
		})
	}
}

// TestReleaseSize keeps far away from the 1 MiB that a Secret holds: Helm stores the chart and the manifests in one,
// but not the charts in the chart.
func TestReleaseSize(t *testing.T) {
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Release{Name: "sluice", Namespace: "sluice-system"}.Render()
	if err != nil {
		t.Fatal(err)
	}
	release, err := json.Marshal(map[string]any{"chart": c, "manifest": strings.Join(m.Objects, "---\n")})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(release); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The API server sees the value in base64 once more, and counts what that decodes to.
	size := base64.StdEncoding.EncodedLen(packed.Len())
	t.Logf("%d KiB", size>>10)
	if size > 100<<10 {
		t.Errorf("the Secret of a release has %d KiB: are CRDs in it?", size>>10)
	}
}

// TestSchemaIsComplete checks that the schema names each value that there is, so that none can be misspelt.
func TestSchemaIsComplete(t *testing.T) {
	var values, schema map[string]any
	for name, into := range map[string]*map[string]any{"values.yaml": &values, "values.schema.json": &schema} {
		data, err := fs.ReadFile(Sluice(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, "", values, schema)
}

func compare(t *testing.T, path string, values, schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range values {
		property, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("values.schema.json does not know %s%s", path, name)
			continue
		}
		below, isMap := value.(map[string]any)
		if isMap && len(below) > 0 && property["properties"] != nil {
			if property["additionalProperties"] != false {
				t.Errorf("values.schema.json allows anything in %s%s", path, name)
			}
			compare(t, path+name+".", below, property)
		}
	}
}
