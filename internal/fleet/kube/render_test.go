package kube

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

var update = flag.Bool("update", false, "write the golden files")

func settings() Settings {
	return Settings{
		EnvoyImage: "registry.example.com:5000/envoy:v1", SluiceImage: "sluice:v2", Namespace: "sluice-system",
		Server: "sluice.sluice-system.svc.cluster.local", Port: 18000, Identity: "spiffe://example.com/server",
		Service: "sluice",
	}
}

func gatewayFleet() *resolve.Fleet {
	gw := model.Name{Namespace: "infra", Name: "gw"}
	return &resolve.Fleet{
		Proxy: "infra/gw", Class: "sluice", Gateways: []model.Name{gw}, Namespace: "infra", Name: "gw-sluice",
		Owner:  resolve.Owner{Kind: model.KindGateway, Name: gw, UID: "uid-of-gw"},
		Labels: map[string]string{"team": "edge"}, Annotations: map[string]string{"cost": "7"},
		Ports: []resolve.FleetPort{{Port: 53, Protocol: "UDP"}, {Port: 80, Protocol: "TCP"}},
	}
}

func specOf(t *testing.T, text string) *egv1a1.EnvoyProxySpec {
	t.Helper()
	out := new(egv1a1.EnvoyProxySpec)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return out
}

func mustRender(t *testing.T, f *resolve.Fleet) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Render(f, settings())
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestRenderGolden(t *testing.T) {
	full := gatewayFleet()
	full.Spec = specOf(t, `
concurrency: 2
ipFamily: DualStack
logging: {level: {default: info, http: debug}}
shutdown: {drainTimeout: 20s, minDrainDuration: 3s}
provider:
  type: Kubernetes
  kubernetes:
    envoyDeployment: {container: {resources: {limits: {memory: 100Mi}}}}
    envoyHpa: {minReplicas: 2, maxReplicas: 5}
    envoyPDB: {minAvailable: 1}
`)
	for name, f := range map[string]*resolve.Fleet{"default": gatewayFleet(), "full": full} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			for _, o := range mustRender(t, f) {
				if o.GetKind() == "ConfigMap" {
					// Its files have goldens of their own, beside package fleet.
					unstructured.RemoveNestedField(o.Object, "data", certificateFile)
					unstructured.RemoveNestedField(o.Object, "data", authorityFile)
					unstructured.RemoveNestedField(o.Object, "data", bootstrapFile)
				}
				text, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(text)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// at returns what is at a path, "spec.containers.0.image", as YAML in one line.
func at(t *testing.T, o *unstructured.Unstructured, path string) string {
	t.Helper()
	var v any = o.Object
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[strings.ReplaceAll(step, "~", ".")]
		case []any:
			i := int(step[0] - '0')
			if i >= len(x) {
				return "beyond the end"
			}
			v = x[i]
		default:
			return "absent"
		}
	}
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func find(objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == kind && (name == "" || o.GetName() == name)
	})
	if i < 0 {
		return nil
	}
	return objects[i]
}

// fieldTest says what one field of spec.provider.kubernetes of an EnvoyProxy makes of an object.
type fieldTest struct{ kubernetes, kind, path, want string }

// run renders a fleet for each test.
func run(t *testing.T, tests map[string]fieldTest) {
	t.Helper()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := gatewayFleet()
			f.Spec = specOf(t, "provider:\n  type: Kubernetes\n  kubernetes:\n    "+
				strings.ReplaceAll(test.kubernetes, "\n", "\n    "))
			o := find(mustRender(t, f), test.kind, "")
			if o == nil {
				t.Fatalf("there is no %s", test.kind)
			}
			if got := at(t, o, test.path); got != test.want {
				t.Errorf("%s of the %s is %q, want %q", test.path, test.kind, got, test.want)
			}
		})
	}
}

const pod, envoy = "spec.template.spec.", "spec.template.spec.containers.0."

func TestDeploymentFields(t *testing.T) {
	deployment := func(f string) string { return "envoyDeployment: {" + f + "}" }
	run(t, map[string]fieldTest{
		"replicas": {deployment("replicas: 3"), "Deployment", "spec.replicas", "3"},
		"replicas, scaled": {deployment("replicas: 3") + "\nenvoyHpa: {maxReplicas: 4}",
			"Deployment", "spec.replicas", "null"},
		"strategy": {deployment("strategy: {type: Recreate}"),
			"Deployment", "spec.strategy", "type: Recreate"},
		"deployment name": {deployment("name: mine"), "Deployment", "metadata.name", "mine"},
		"pod labels": {deployment("pod: {labels: {a: b}}"),
			"Deployment", "spec.template.metadata.labels.a", "b"},
		"pod labels of ours": {deployment("pod: {labels: {sluice.dev/fleet: x}}"), "Deployment",
			"spec.template.metadata.labels.sluice~dev/fleet", "gw-sluice"},
		"pod annotations": {deployment("pod: {annotations: {a: b}}"),
			"Deployment", "spec.template.metadata.annotations.a", "b"},
		"pod security": {deployment("pod: {securityContext: {runAsUser: 5}}"),
			"Deployment", pod + "securityContext.runAsUser", "5"},
		"low ports whatever the security": {deployment("pod: {securityContext: {runAsUser: 5}}"), "Deployment",
			pod + "securityContext.sysctls.0.value", `"0"`},
		"affinity": {deployment("pod: {affinity: {nodeAffinity: {}}}"),
			"Deployment", pod + "affinity", "nodeAffinity: {}"},
		"tolerations": {deployment("pod: {tolerations: [{key: a}]}"),
			"Deployment", pod + "tolerations", "- key: a"},
		"volumes": {deployment("pod: {volumes: [{name: v, emptyDir: {}}]}"),
			"Deployment", pod + "volumes.3.name", "v"},
		"pull secrets": {deployment("pod: {imagePullSecrets: [{name: s}]}"),
			"Deployment", pod + "imagePullSecrets", "- name: s"},
		"node selector": {deployment("pod: {nodeSelector: {a: b}}"),
			"Deployment", pod + "nodeSelector", "a: b"},
		"spread": {deployment("pod: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: z}]}"),
			"Deployment", pod + "topologySpreadConstraints.0.topologyKey", "z"},
		"priority": {deployment("pod: {priorityClassName: high}"),
			"Deployment", pod + "priorityClassName", "high"},
		"env": {deployment("container: {env: [{name: A, value: b}]}"),
			"Deployment", envoy + "env.4.value", "b"},
		"env of ours": {deployment("container: {env: [{name: ZONE, value: b}]}"),
			"Deployment", envoy + "env.1.value", "b"},
		"resources": {deployment("container: {resources: {requests: {cpu: 7m}}}"),
			"Deployment", envoy + "resources.requests", "cpu: 7m"},
		"security": {deployment("container: {securityContext: {runAsUser: 7}}"),
			"Deployment", envoy + "securityContext", "runAsUser: 7"},
		"security, beside": {deployment("container: {securityContext: {runAsUser: 7}}"),
			"Deployment", pod + "containers.1.securityContext.runAsUser", "7"},
		"image": {deployment("container: {image: own:1}"),
			"Deployment", envoy + "image", "own:1"},
		"image repository": {deployment("container: {imageRepository: example.com/own}"),
			"Deployment", envoy + "image", "example.com/own:v1"},
		"mounts": {deployment("container: {volumeMounts: [{name: v, mountPath: /v}]}"),
			"Deployment", envoy + "volumeMounts.3.mountPath", "/v"},
		"init containers": {deployment("initContainers: [{name: i}]"),
			"Deployment", pod + "initContainers.0.name", "i"},
		"deployment patch": {deployment(
			"patch: {value: {spec: {template: {spec: {containers: [{name: envoy, tty: true}]}}}}}"),
			"Deployment", envoy + "tty", "true"},
		"deployment merge patch": {deployment("patch: {type: JSONMerge, value: {spec: {replicas: 9}}}"),
			"Deployment", "spec.replicas", "9"},
		"a patch keeps the pods": {deployment("patch: {value: {spec: {selector: {matchLabels: {sluice.dev/fleet: x}}}}}"),
			"Deployment", "spec.selector.matchLabels.sluice~dev/fleet", "gw-sluice"},
	})
}

func TestOtherFields(t *testing.T) {
	service := func(f string) string { return "envoyService: {" + f + "}" }
	run(t, map[string]fieldTest{
		"daemon set": {"envoyDaemonSet: {name: mine}", "DaemonSet", "metadata.name", "mine"},
		"daemon set strategy": {"envoyDaemonSet: {strategy: {type: OnDelete}}",
			"DaemonSet", "spec.updateStrategy", "type: OnDelete"},
		"daemon set pod": {"envoyDaemonSet: {pod: {nodeSelector: {a: b}}}",
			"DaemonSet", pod + "nodeSelector", "a: b"},
		"daemon set container": {"envoyDaemonSet: {container: {image: own:1}}",
			"DaemonSet", envoy + "image", "own:1"},
		"daemon set patch": {"envoyDaemonSet: {patch: {value: {spec: {minReadySeconds: 4}}}}",
			"DaemonSet", "spec.minReadySeconds", "4"},
		"service type": {service("type: ClusterIP"), "Service", "spec.type", "ClusterIP"},
		"service policy": {service("externalTrafficPolicy: Cluster"),
			"Service", "spec.externalTrafficPolicy", "Cluster"},
		"no policy within the cluster": {service("type: ClusterIP, externalTrafficPolicy: Local"), "Service",
			"spec.externalTrafficPolicy", "null"},
		"service labels": {service("labels: {a: b}"), "Service", "metadata.labels.a", "b"},
		"service annotations": {service("annotations: {a: b}"),
			"Service", "metadata.annotations.a", "b"},
		"service name": {service("name: mine"), "Service", "metadata.name", "mine"},
		"balancer class": {service("loadBalancerClass: c"),
			"Service", "spec.loadBalancerClass", "c"},
		"balancer address": {service("loadBalancerIP: 192.0.2.7"),
			"Service", "spec.loadBalancerIP", "192.0.2.7"},
		"balancer ranges": {service("loadBalancerSourceRanges: [10.0.0.0/8]"),
			"Service", "spec.loadBalancerSourceRanges", "- 10.0.0.0/8"},
		"balancer node ports": {service("allocateLoadBalancerNodePorts: false"),
			"Service", "spec.allocateLoadBalancerNodePorts", "false"},
		"service patch": {service("patch: {value: {spec: {sessionAffinity: ClientIP}}}"),
			"Service", "spec.sessionAffinity", "ClientIP"},
		"autoscaler": {"envoyHpa: {minReplicas: 2, maxReplicas: 4}",
			"HorizontalPodAutoscaler", "spec.minReplicas", "2"},
		"autoscaler target": {"envoyDeployment: {name: d}\nenvoyHpa: {maxReplicas: 4}",
			"HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "d"},
		"autoscaler behavior": {"envoyHpa: {maxReplicas: 4, behavior: {scaleUp: {stabilizationWindowSeconds: 3}}}",

			"HorizontalPodAutoscaler", "spec.behavior.scaleUp.stabilizationWindowSeconds", "3"},
		"autoscaler name": {"envoyHpa: {maxReplicas: 4, name: h}",
			"HorizontalPodAutoscaler", "metadata.name", "h"},
		"autoscaler patch": {"envoyHpa: {maxReplicas: 4, patch: {value: {spec: {maxReplicas: 8}}}}",
			"HorizontalPodAutoscaler", "spec.maxReplicas", "8"},
		"budget": {"envoyPDB: {maxUnavailable: 25%}",
			"PodDisruptionBudget", "spec.maxUnavailable", "25%"},
		"budget name": {"envoyPDB: {name: p}",
			"PodDisruptionBudget", "metadata.name", "p"},
		"budget patch": {"envoyPDB: {patch: {value: {metadata: {labels: {a: b}}}}}",
			"PodDisruptionBudget", "metadata.labels.a", "b"},
		"service account": {"envoyServiceAccount: {name: s}",
			"ServiceAccount", "metadata.name", "s"},
		"service account of the pods": {"envoyServiceAccount: {name: s}",
			"Deployment", pod + "serviceAccountName", "s"},
		"ports as they are": {"useListenerPortAsContainerPort: false",
			"Service", "spec.ports.1.targetPort", "80"},
	})
}

func TestRenderRefuses(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"both workloads": {"provider: {type: Kubernetes, kubernetes: {envoyDeployment: {}, envoyDaemonSet: {}}}", "exclude"},
		"scaled daemon set": {"provider: {type: Kubernetes, kubernetes: {envoyDaemonSet: {}, envoyHpa: {maxReplicas: 2}}}",
			"cannot be scaled"},
		"patch": {"provider: {type: Kubernetes, kubernetes: {envoyService: {patch: {value: {spec: {ports: 7}}}}}}",
			"spec.provider.kubernetes.envoyService.patch"},
		"patch type": {"provider: {type: Kubernetes, kubernetes: {envoyService: {patch: {type: Replace, value: {}}}}}",
			"not known"},
		"name":      {"provider: {type: Kubernetes, kubernetes: {envoyService: {name: A_b}}}", `"A_b" of the Service`},
		"bootstrap": {"bootstrap: {type: Merge, value: 'x: 1'}", "spec.bootstrap"},
		"duration":  {"shutdown: {drainTimeout: soon}", "spec.shutdown.drainTimeout"},
		"durations": {"shutdown: {drainTimeout: 5s}", "shorter than minDrainDuration"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := Check(specOf(t, test.spec)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if err := Check(nil); err != nil {
		t.Error(err)
	}
}

func TestConfigurationRollsThePods(t *testing.T) {
	hashOf := func(f *resolve.Fleet) string {
		return at(t, find(mustRender(t, f), "Deployment", ""), "spec.template.metadata.annotations.sluice~dev/config")
	}
	f := gatewayFleet()
	before := hashOf(f)
	f.Ports = append(f.Ports, resolve.FleetPort{Port: 81, Protocol: "TCP"})
	if hashOf(f) != before {
		t.Error("a port of a listener replaces the pods, though Envoy gets it over xDS")
	}
	f.Spec = specOf(t, `bootstrap: {type: Merge, value: "stats_config: {stats_tags: [{tag_name: a, fixed_value: b}]}"}`)
	if hashOf(f) == before {
		t.Error("another bootstrap does not replace the pods")
	}
}

func TestServicePerAddress(t *testing.T) {
	parse := func(ip string, cluster bool) resolve.FleetAddress {
		return resolve.FleetAddress{IP: netip.MustParseAddr(ip), Cluster: cluster}
	}
	tests := map[string]struct {
		addresses []resolve.FleetAddress
		spec      string
		want      []string
	}{
		"none": {nil, "{}", []string{"gw-sluice LoadBalancer null null"}},
		"one": {[]resolve.FleetAddress{parse("192.0.2.1", false)}, "{}",
			[]string{"gw-sluice-b745e360 LoadBalancer 192.0.2.1 null"}},
		"two": {[]resolve.FleetAddress{parse("192.0.2.1", false), parse("192.0.2.2", false)}, "{}",
			[]string{"gw-sluice-b745e360 LoadBalancer 192.0.2.1 null", "gw-sluice-c99727f0 LoadBalancer 192.0.2.2 null"}},
		"within the cluster": {[]resolve.FleetAddress{{Cluster: true}}, "{}",
			[]string{"gw-sluice-cluster ClusterIP null null"}},
		"that one within the cluster": {[]resolve.FleetAddress{parse("10.0.0.9", true)}, "{}",
			[]string{"gw-sluice-cluster-eaf2a9dd ClusterIP null 10.0.0.9"}},
		"both": {[]resolve.FleetAddress{{}, {Cluster: true}}, "{}",
			[]string{"gw-sluice LoadBalancer null null", "gw-sluice-cluster ClusterIP null null"}},
		"of a cluster IP": {[]resolve.FleetAddress{parse("10.0.0.9", false)},
			"{provider: {type: Kubernetes, kubernetes: {envoyService: {type: ClusterIP, name: mine}}}}",
			[]string{"mine ClusterIP null 10.0.0.9"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := gatewayFleet()
			f.Addresses, f.Spec = test.addresses, specOf(t, test.spec)
			var got []string
			for _, o := range mustRender(t, f) {
				if o.GetKind() == "Service" {
					got = append(got, strings.Join([]string{
						o.GetName(), at(t, o, "spec.type"), at(t, o, "spec.loadBalancerIP"), at(t, o, "spec.clusterIP"),
					}, " "))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Services (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRateLimitService(t *testing.T) {
	s := settings()
	s.RateLimit = &fleet.Remote{Host: "limit.sluice-system.svc.", Port: 18002, Identity: "spiffe://example.com/limit"}
	objects, err := Render(gatewayFleet(), s)
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, _, err := unstructured.NestedString(find(objects, "ConfigMap", "").Object, "data", bootstrapFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name": "sluice_ratelimit"`, `"address": "limit.sluice-system.svc."`, `"exact": "spiffe://example.com/limit"`,
	} {
		if !strings.Contains(bootstrap, want) {
			t.Errorf("the bootstrap has no %s:\n%s", want, bootstrap)
		}
	}
}
