package envoygateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
)

const head = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\n"

// write writes a file, and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "eg.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mistakes are files that are refused, and what is said of them.
var mistakes = map[string]struct {
	text    string
	program envoygateway.Program
	want    []string
}{
	"another kind": {
		text: "apiVersion: v1\nkind: ConfigMap\n",
		want: []string{
			"eg.yaml:1: apiVersion: must be gateway.envoyproxy.io/v1alpha1", "eg.yaml:2: kind: must be EnvoyGateway",
		},
	},
	"empty": {text: "# nothing\n", want: []string{"eg.yaml: the file is empty"}},
	"two":   {text: head + "---\n" + head, want: []string{"eg.yaml:3: a second document"}},
	"unknown field": {
		text: head + "gateway:\n  controlerName: x\n",
		want: []string{`eg.yaml:4: gateway.controlerName: unknown field "gateway.controlerName"`},
	},
	"behind a comment and a marker": {
		text: "# a comment\n---\n" + head + "gateway:\n  controlerName: x\n",
		want: []string{"eg.yaml:6: gateway.controlerName"},
	},
	"wrong type": {text: head + "admin:\n  address: {port: http}\n", want: []string{"eg.yaml:4: admin.address.port"}},
	"no port":    {text: head + "admin: {address: {port: 70000}}\n", want: []string{"70000 is no port"}},
	"choice": {
		text: head + "logging:\n  encoder: xml\n  level:\n    default: loud\n    engine: info\n",
		want: []string{
			`eg.yaml:4: logging.encoder: "xml" is none of Text, JSON`,
			`eg.yaml:6: logging.level.default: "loud" is none of debug, info, warn, error`,
			`eg.yaml:7: logging.level.engine: "engine" is none of default, provider`,
		},
	},
	"duration": {
		text: head + "xdsServer:\n  maxConnectionAge: 10 h\n  maxReceiveMessageSize: 3Gi\n",
		want: []string{`eg.yaml:4: xdsServer.maxConnectionAge: "10 h" is no duration`, "less than 2Gi"},
	},
	"watch without type": {
		text: head + "provider:\n  type: Kubernetes\n  kubernetes:\n    watch: {namespaces: [a]}\n",
		want: []string{"eg.yaml:6: provider.kubernetes.watch.type: must be Namespaces or NamespaceSelector"},
	},
	"watch without names": {
		text: head + "provider: {type: Kubernetes, kubernetes: {watch: {type: Namespaces}}}\n",
		want: []string{"watch.namespaces: type Namespaces needs at least one"},
	},
	"watch by both": {
		text: head + "provider: {type: Kubernetes, kubernetes: {watch: {type: NamespaceSelector, namespaces: [a], " +
			"namespaceSelector: {matchLabels: {a: b}}}}}\n",
		want: []string{"type is NamespaceSelector: remove it"},
	},
	"selector": {
		text: head + "provider: {type: Kubernetes, kubernetes: {watch: {type: NamespaceSelector, " +
			"namespaceSelector: {matchExpressions: [{key: a, operator: Is}]}}}}\n",
		want: []string{"namespaceSelector: \"Is\" is not a valid label selector operator"},
	},
	"files in a cluster": {
		text: head + "provider:\n  type: Custom\n  custom:\n    resource: {type: File, file: {paths: [a]}}\n",
		want: []string{"eg.yaml:6: provider.custom.resource.type: sluice serve reads a cluster"},
	},
	"no files": {
		text: head + "provider: {type: Custom, custom: {resource: {type: File}}}\n", program: envoygateway.Run,
		want: []string{"File needs paths"},
	},
	"custom of a provider that is not": {
		text: head + "provider: {type: Kubernetes, custom: {resource: {type: Kubernetes}}}\n",
		want: []string{"provider.type is not Custom"},
	},
	"nothing custom": {text: head + "provider: {type: Custom}\n", want: []string{"Custom needs provider.custom"}},
	"a host for a cluster": {
		text: head + "provider: {type: Custom, custom: {resource: {type: Kubernetes}, infrastructure: {type: Host}}}\n",
		want: []string{"what is read from a cluster is served by Envoys in it"},
	},
	"remote": {
		text: head + "provider:\n  type: Custom\n  custom:\n    resource: {type: File, file: {paths: [a]}}\n" +
			"    infrastructure: {type: Remote, remote: {service: {fqdn: {hostname: a, port: 1}}}}\n",
		program: envoygateway.Run,
		want:    []string{"eg.yaml:7: provider.custom.infrastructure.remote: Sluice runs Envoys in Kubernetes"},
	},
	"limits without Redis": {
		text: head + "rateLimit:\n  backend: {type: Redis}\n",
		want: []string{"eg.yaml:4: rateLimit.backend.redis: Redis needs"},
	},
	"limits with both": {
		text: head + "rateLimit: {backend: {type: Redis, redis: {url: a, urlRef: {secretKeyRef: {name: a, key: b}}}}}\n",
		want: []string{"exactly one of url and urlRef must be set"},
	},
	"a Secret without a cluster": {
		text:    head + "rateLimit: {backend: {type: Redis, redis: {urlRef: {secretKeyRef: {name: a, key: b}}}}}\n",
		program: envoygateway.Run, want: []string{"set $SLUICE_REDIS_URL or --redis-url"},
	},
	"sinks without hosts": {
		text: head + "telemetry:\n  metrics:\n    sinks:\n    - type: OpenTelemetry\n" +
			"    - {type: OpenTelemetry, openTelemetry: {protocol: smtp, host: ''}}\n",
		want: []string{
			`sinks.openTelemetry.protocol: "smtp" is none of grpc, http`,
			"eg.yaml:6: telemetry.metrics.sinks[0].openTelemetry: is",
			"eg.yaml:7: telemetry.metrics.sinks[1].openTelemetry.host: must be",
		},
	},
	"lua": {text: head + "extensionApis: {disableLua: false}\n", want: []string{"contradicts enableLua"}},
	"fields in two places": {
		text: head + "metadata: {name: a}\ngateway: {controllerName: a.b/c}\nspec:\n  admin: {}\n  kind: EnvoyGateway\n",
		want: []string{
			"eg.yaml:4: gateway: the fields are under spec: write this one there too",
			"eg.yaml:7: spec.kind: must be at the top of the file only",
		},
	},
	"a spec without fields": {text: head + "spec: [admin]\n", want: []string{"eg.yaml:3: spec: must have the fields"}},
	"unknown field under spec": {
		text: "# a comment\n---\n" + head + "spec:\n  gateway:\n    controlerName: x\n",
		want: []string{`eg.yaml:7: spec.gateway.controlerName: unknown field "spec.gateway.controlerName"`},
	},
	"wrong type under spec": {
		text: head + "spec:\n  admin:\n    address: {host: a,\n      port: http}\n",
		want: []string{"eg.yaml:6: spec.admin.address.port: "},
	},
	"choice under spec": {
		text: head + "spec:\n  logging: {encoder: xml}\n  envoyProxy:\n    ipFamily: IPv5\n",
		want: []string{
			`eg.yaml:4: spec.logging.encoder: "xml" is none of Text, JSON`,
			`eg.yaml:6: spec.envoyProxy.ipFamily: Unsupported value: "IPv5"`,
		},
	},
	"another kind with a spec": {
		text: "apiVersion: v1\nkind: EnvoyGateway\nspec: {admin: {}}\n",
		want: []string{"eg.yaml:1: apiVersion: must be gateway.envoyproxy.io/v1alpha1"},
	},
	"an EnvoyProxy that the API server would refuse": {
		text: head + "envoyProxy:\n  ipFamily: IPv5\n",
		want: []string{`eg.yaml:4: envoyProxy.ipFamily: Unsupported value: "IPv5"`},
	},
}

func TestMistakesAreNamedWithTheirLine(t *testing.T) {
	for name, c := range mistakes {
		t.Run(name, func(t *testing.T) {
			program := c.program
			if program == 0 {
				program = envoygateway.Serve
			}
			_, err := envoygateway.Load(write(t, c.text), program)
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in:\n%v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got > len(c.want) {
				t.Errorf("%d mistakes are told, want %d:\n%v", got, len(c.want), err)
			}
		})
	}
}

// What has no effect keeps no file from working: it is said, once for each field.
func TestFieldsWithoutEffectAreNoticed(t *testing.T) {
	text := head + `gateway: {controllerName: example.com/c}
provider:
  type: Kubernetes
  kubernetes:
    rateLimitDeployment: {replicas: 2}
    rateLimitHpa: {maxReplicas: 3}
    rateLimitPDB: {minAvailable: 1}
    deploy: {type: ControllerNamespace}
    shutdownManager: {image: a}
    proxyTopologyInjector: {disabled: true}
    cacheSyncPeriod: 1h
admin: {enableDumpConfig: true, enablePprof: true}
telemetry:
  metrics: {sinks: [{type: OpenTelemetry, openTelemetry: {host: a, protocol: grpc}}]}
  traces: {sink: {type: OpenTelemetry, openTelemetry: {host: a, protocol: grpc}}}
rateLimit:
  backend: {type: Redis, redis: {url: "a:1"}}
  failClosed: false
  telemetry: {metrics: {prometheus: {disable: true}}, tracing: {provider: {url: a}}}
extensionApis: {enableSDSSecretRef: true}
gatewayAPI: {enabled: [XBackendTrafficPolicy]}
runtimeFlags: {enabled: [XDSNameSchemeV2]}
`
	for program, want := range map[envoygateway.Program][]string{
		envoygateway.Serve: {
			"provider.kubernetes.rateLimitDeployment", "provider.kubernetes.rateLimitHpa", "provider.kubernetes.rateLimitPDB",
			"provider.kubernetes.shutdownManager.image", "provider.kubernetes.proxyTopologyInjector.disabled",
			"provider.kubernetes.cacheSyncPeriod", "admin.enableDumpConfig", "telemetry.traces",
			"rateLimit.backend.type", "rateLimit.backend.redis.url", "rateLimit.telemetry.metrics",
			"rateLimit.telemetry.tracing", "extensionApis.enableSDSSecretRef", "runtimeFlags",
			"provider.kubernetes.deploy.type",
		},
		envoygateway.Run: {
			"provider.kubernetes.rateLimitDeployment", "provider.kubernetes.rateLimitHpa", "provider.kubernetes.rateLimitPDB",
			"provider.kubernetes.shutdownManager.image", "provider.kubernetes.proxyTopologyInjector.disabled",
			"provider.kubernetes.cacheSyncPeriod", "admin.enableDumpConfig", "telemetry.traces",
			"rateLimit.telemetry.metrics", "rateLimit.telemetry.tracing", "extensionApis.enableSDSSecretRef", "runtimeFlags",
			"provider.kubernetes.deploy.type", "provider.type",
		},
		envoygateway.Count: {"provider.kubernetes.deploy.type"},
	} {
		c, err := envoygateway.Load(write(t, text), program)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range c.Notices {
			path, why, _ := strings.Cut(n.Message, ": ")
			if why == "" {
				path, why, _ = strings.Cut(n.Message, " ")
			}
			if n.Line == 0 || why == "" {
				t.Errorf("%s says too little", n)
			}
			got = append(got, path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("program %d (-want +got):\n%s", program, diff)
		}
	}
}

// A file that is written like an object says what one says whose fields are beside its kind, and how to write it is
// noticed.
func TestFileLikeAnObject(t *testing.T) {
	const fields = "admin: {address: {port: 19001}, enableDumpConfig: true}"
	plain, err := envoygateway.Load(write(t, head+fields+"\n"), envoygateway.Serve)
	if err != nil {
		t.Fatal(err)
	}
	const dump = "admin.enableDumpConfig: without effect"
	for text, want := range map[string][]string{
		"metadata: {name: eg}\nspec:\n  " + fields + "\n": {"eg.yaml:4: spec: its fields", "eg.yaml:5: spec." + dump},
		"spec: {" + fields + "}\n":                        {"eg.yaml:3: spec: its fields", "eg.yaml:3: spec." + dump},
		"metadata: {name: eg}\n" + fields + "\n":          {"eg.yaml:3: metadata: without", "eg.yaml:4: " + dump},
	} {
		c, err := envoygateway.Load(write(t, head+text), envoygateway.Serve)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(plain.EnvoyGatewaySpec, c.EnvoyGatewaySpec); diff != "" || !c.Says("admin.address.port") {
			t.Errorf("%s says something else (-plain +got):\n%s", text, diff)
		}
		if len(c.Notices) != len(want) {
			t.Errorf("%s: notices %v, want %q", text, c.Notices, want)
			continue
		}
		for i, n := range c.Notices {
			if !strings.Contains(n.String(), want[i]) {
				t.Errorf("%s: notice %q, want %q", text, n, want[i])
			}
		}
	}
	for _, spec := range []string{"spec:", "spec: {}", "metadata:"} {
		if c, err := envoygateway.Load(write(t, head+spec+"\n"), envoygateway.Count); err != nil || len(c.Notices) > 0 {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestRedisURL(t *testing.T) {
	for redis, want := range map[string]string{
		"url: 'redis:6379'":                             "redis://redis:6379",
		"{url: 'redis:6379', tls: {}}":                  "rediss://redis:6379",
		"url: 'redis://user:pass@redis:6379/1'":         "redis://user:pass@redis:6379/1",
		"url: 'a:1,b:2,c:3'":                            "redis://a:1?addr=b:2&addr=c:3",
		"url: 'mymaster,a:1,b:2'":                       "redis://a:1?master_set=mymaster&addr=b:2",
		"urlRef: {secretKeyRef: {name: s, key: redis}}": "",
	} {
		if !strings.HasPrefix(redis, "{") {
			redis = "{" + redis + "}"
		}
		c, err := envoygateway.Load(write(t, head+"rateLimit: {backend: {type: Redis, redis: "+redis+"}}\n"),
			envoygateway.Count)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.RedisURL(); got != want {
			t.Errorf("%s is %q, want %q", redis, got, want)
		}
	}
}
