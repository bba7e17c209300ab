package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const configHead = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\n"

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(configHead+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// taken are the flags that a program has with a file and a command line.
type taken struct {
	Serve serveFlags
	Run   runFlags
	Paths []string
	Count counterFlags
}

func takeAll(t *testing.T, program envoygateway.Program, text string, args ...string) (out taken) {
	t.Helper()
	config, err := envoygateway.Load(configFile(t, text), program)
	if err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	switch program {
	case envoygateway.Serve:
		out.Serve.register(cmd)
	case envoygateway.Run:
		out.Run.register(cmd)
	case envoygateway.Count:
		out.Count.register(cmd)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	switch program {
	case envoygateway.Serve:
		if err := out.Serve.take(cmd, config); err != nil {
			t.Fatal(err)
		}
		if err := out.Serve.check(); err != nil {
			t.Fatal(err)
		}
	case envoygateway.Run:
		out.Run.take(cmd, config)
		out.Paths = config.Paths()
	case envoygateway.Count:
		out.Count.take(cmd, config)
	}
	return out
}

const (
	k8s    = "provider: {type: Kubernetes, kubernetes: "
	custom = "provider: {type: Custom, custom: {resource: "
	sinks  = "telemetry: {metrics: {sinks: [{type: OpenTelemetry, openTelemetry: {"
	limits = "rateLimit: {backend: {type: Redis, redis: {url: 'r:6379'}}"
)

// effect is what a field is good for: with it, something is otherwise than without it.
type effect struct {
	program envoygateway.Program
	text    string
	// get returns what is otherwise, want what it is then.
	get  func(taken) any
	want any
}

// effects have a line for each field that is applied, those of extension servers aside.
var effects = map[string]effect{
	"gateway.controllerName": {
		envoygateway.Serve, "gateway: {controllerName: example.com/c}",
		func(f taken) any { return f.Serve.controllers }, []string{"example.com/c"},
	},
	"provider.type": {
		envoygateway.Serve, custom + "{type: Kubernetes}}}",
		func(f taken) any { return f.Serve.noEnvoys }, true,
	},
	"provider.kubernetes.watch.type": {
		envoygateway.Serve, k8s + "{watch: {type: Namespaces, namespaces: [a]}}}",
		func(f taken) any { return f.Serve.watch().Covers("b", nil) }, false,
	},
	"provider.kubernetes.watch.namespaces": {
		envoygateway.Serve, k8s + "{watch: {type: Namespaces, namespaces: [a]}}}",
		func(f taken) any { return f.Serve.watch().Namespaces }, []string{"a", "sluice-system"},
	},
	"provider.kubernetes.watch.namespaceSelector": {
		envoygateway.Serve, k8s + "{watch: {type: NamespaceSelector, namespaceSelector: {matchLabels: {a: b}}}}}",
		func(f taken) any { return f.Serve.watchSelector }, "a=b",
	},
	"provider.kubernetes.leaderElection.leaseDuration": {
		envoygateway.Serve, k8s + "{leaderElection: {leaseDuration: 1m}}}",
		func(f taken) any { return f.Serve.lease }, time.Minute,
	},
	"provider.kubernetes.leaderElection.renewDeadline": {
		envoygateway.Serve, k8s + "{leaderElection: {renewDeadline: 12s}}}",
		func(f taken) any { return f.Serve.renew }, 12 * time.Second,
	},
	"provider.kubernetes.leaderElection.retryPeriod": {
		envoygateway.Serve, k8s + "{leaderElection: {retryPeriod: 3s}}}",
		func(f taken) any { return f.Serve.retry }, 3 * time.Second,
	},
	"provider.kubernetes.leaderElection.disable": {
		envoygateway.Serve, k8s + "{leaderElection: {disable: true}}}",
		func(f taken) any { return f.Serve.elect }, false,
	},
	"provider.kubernetes.client.rateLimit.qps": {
		envoygateway.Serve, k8s + "{client: {rateLimit: {qps: 7}}}}",
		func(f taken) any { return []any{f.Serve.qps, f.Serve.burst} }, []any{float32(7), 100},
	},
	"provider.kubernetes.client.rateLimit.burst": {
		envoygateway.Serve, k8s + "{client: {rateLimit: {burst: 9}}}}",
		func(f taken) any { return []any{f.Serve.qps, f.Serve.burst} }, []any{float32(50), 9},
	},
	"provider.custom.resource.type": {
		envoygateway.Serve, custom + "{type: Kubernetes}}}",
		func(f taken) any { return f.Serve.noEnvoys }, true,
	},
	"provider.custom.resource.file.paths": {
		envoygateway.Run, custom + "{type: File, file: {paths: [a, b]}}}}",
		func(f taken) any { return f.Paths }, []string{"a", "b"},
	},
	"provider.custom.resource.kubernetes.watch": {
		envoygateway.Serve, custom + "{type: Kubernetes, kubernetes: {watch: {type: Namespaces, namespaces: [a]}}}}}",
		func(f taken) any { return f.Serve.watch().Namespaces }, []string{"a", "sluice-system"},
	},
	"provider.custom.resource.kubernetes.leaderElection": {
		envoygateway.Serve, custom + "{type: Kubernetes, kubernetes: {leaderElection: {disable: true}}}}}",
		func(f taken) any { return f.Serve.elect }, false,
	},
	"provider.custom.resource.kubernetes.client": {
		envoygateway.Serve, custom + "{type: Kubernetes, kubernetes: {client: {rateLimit: {burst: 9}}}}}}",
		func(f taken) any { return f.Serve.burst }, 9,
	},
	"provider.custom.infrastructure.type": {
		envoygateway.Run, custom + "{type: File, file: {paths: [a]}}, infrastructure: {type: Host, host: {stateHome: /s}}}}",
		func(f taken) any { return f.Run.stateDir }, "/s",
	},
	"provider.custom.infrastructure.host.stateHome": {
		envoygateway.Run, custom + "{type: File, file: {paths: [a]}}, infrastructure: {type: Host, host: {stateHome: /s}}}}",
		func(f taken) any { return f.Run.stateDir }, "/s",
	},
	"provider.custom.infrastructure.host.runtimeDir": {
		envoygateway.Run, custom + "{type: File, file: {paths: [a]}}, infrastructure: {type: Host, host: {runtimeDir: /s}}}}",
		func(f taken) any { return f.Run.runtimeDir }, "/s",
	},
	"provider.custom.infrastructure.host.dataHome": {
		envoygateway.Run, custom + "{type: File, file: {paths: [a]}}, infrastructure: {type: Host, host: {dataHome: /s}}}}",
		func(f taken) any { return f.Run.cache }, "/s",
	},
	"logging.level": {
		envoygateway.Serve, "logging: {level: {default: warn, provider: debug, xds-server: error}}",
		func(f taken) any {
			l := f.Serve.logs
			return []slog.Level{
				l.level(), l.level(egv1a1.LogComponentProviderRunner),
				l.level(egv1a1.LogComponentXdsRunner, egv1a1.LogComponentXdsServerRunner),
			}
		}, []slog.Level{slog.LevelWarn, slog.LevelDebug, slog.LevelError},
	},
	"logging.encoder": {
		envoygateway.Serve, "logging: {encoder: Text}", func(f taken) any {
			var out bytes.Buffer
			f.Serve.logs.logger(&out).Info("hello")
			return strings.HasSuffix(out.String(), "level=INFO msg=hello\n")
		}, true,
	},
	"admin.address.port": {
		envoygateway.Serve, "admin: {address: {port: 1234}}", func(f taken) any { return f.Serve.admin }, "127.0.0.1:1234",
	},
	"admin.address.host": {
		envoygateway.Run, "admin: {address: {host: '::1'}}", func(f taken) any { return f.Run.admin }, "[::1]:19000",
	},
	"telemetry.metrics.prometheus.disable": {
		envoygateway.Run, "telemetry: {metrics: {prometheus: {disable: true}}}",
		func(f taken) any { return f.Run.gather(nil) == nil }, true,
	},
	"telemetry.metrics.sinks.type": {
		envoygateway.Serve, sinks + "host: h}}]}}", func(f taken) any { return f.Serve.sinks },
		[]ops.Sink{{Address: "h:4317"}},
	},
	"telemetry.metrics.sinks.openTelemetry.host": {
		envoygateway.Run, sinks + "host: h}}]}}", func(f taken) any { return f.Run.sinks },
		[]ops.Sink{{Address: "h:4317"}},
	},
	"telemetry.metrics.sinks.openTelemetry.port": {
		envoygateway.Serve, sinks + "host: h, port: 1}}]}}", func(f taken) any { return f.Serve.sinks },
		[]ops.Sink{{Address: "h:1"}},
	},
	"telemetry.metrics.sinks.openTelemetry.protocol": {
		envoygateway.Serve, sinks + "host: h, protocol: http}}]}}", func(f taken) any { return f.Serve.sinks },
		[]ops.Sink{{Address: "h:4317", HTTP: true}},
	},
	"telemetry.metrics.sinks.openTelemetry.exportInterval": {
		envoygateway.Serve, sinks + "host: h, exportInterval: 5s}}]}}", func(f taken) any { return f.Serve.sinks },
		[]ops.Sink{{Address: "h:4317", Interval: 5 * time.Second}},
	},
	"telemetry.metrics.sinks.openTelemetry.exportTimeout": {
		envoygateway.Serve, sinks + "host: h, exportTimeout: 5s}}]}}", func(f taken) any { return f.Serve.sinks },
		[]ops.Sink{{Address: "h:4317", Timeout: 5 * time.Second}},
	},
	"xdsServer.maxConnectionAge": {
		envoygateway.Serve, "xdsServer: {maxConnectionAge: 1h}",
		func(f taken) any { return f.Serve.connection }, xds.Connection{MaxAge: time.Hour},
	},
	"xdsServer.maxConnectionAgeGrace": {
		envoygateway.Serve, "xdsServer: {maxConnectionAgeGrace: 1h}",
		func(f taken) any { return f.Serve.connection }, xds.Connection{AgeGrace: time.Hour},
	},
	"xdsServer.maxReceiveMessageSize": {
		envoygateway.Serve, "xdsServer: {maxReceiveMessageSize: 1Mi}",
		func(f taken) any { return f.Serve.connection }, xds.Connection{MaxRequest: 1 << 20},
	},
	"rateLimit.backend.type": {
		envoygateway.Count, limits + "}", func(f taken) any { return f.Count.redisURL }, "redis://r:6379",
	},
	"rateLimit.backend.redis.url": {
		envoygateway.Run, limits + "}", func(f taken) any { return f.Run.counters.redisURL }, "redis://r:6379",
	},
	"rateLimit.backend.redis.urlRef": {
		envoygateway.Count, "rateLimit: {backend: {type: Redis, redis: {urlRef: {secretKeyRef: {name: s, key: k}}}}}",
		func(f taken) any { return f.Count.url() }, "redis://from-the-environment",
	},
	"rateLimit.backend.redis.tls": {
		envoygateway.Count, "rateLimit: {backend: {type: Redis, redis: {url: 'r:6379', tls: {}}}}",
		func(f taken) any { return f.Count.redisURL }, "rediss://r:6379",
	},
	"rateLimit.timeout": {
		envoygateway.Serve, limits + ", timeout: 30ms}", func(f taken) any { return f.Serve.limits.timeout },
		30 * time.Millisecond,
	},
	"rateLimit.failClosed": {
		envoygateway.Run, limits + ", failClosed: true}", func(f taken) any { return f.Run.limits.failClosed }, true,
	},
	"extensionApis.enableLua": {
		envoygateway.Serve, "extensionApis: {enableLua: true}", func(f taken) any { return f.Serve.extensions.lua }, true,
	},
	"extensionApis.disableLua": {
		envoygateway.Run, "extensionApis: {disableLua: true}", func(f taken) any { return f.Run.extensions.lua }, false,
	},
	"extensionApis.enableEnvoyPatchPolicy": {
		envoygateway.Serve, "extensionApis: {enableEnvoyPatchPolicy: true}",
		func(f taken) any { return f.Serve.extensions.patches }, true,
	},
	"extensionApis.enableBackend": {
		envoygateway.Serve, "extensionApis: {enableBackend: false}", func(f taken) any { return f.Serve.noBackends }, true,
	},
	"envoyProxy": {
		envoygateway.Serve, "envoyProxy: {concurrency: 3}",
		func(f taken) any { return *f.Serve.proxy.Concurrency }, int32(3),
	},
}

// Each field that is said to be applied has an effect.
func TestAppliedFieldsHaveAnEffect(t *testing.T) {
	effects := extensionEffectsWith(effects)
	for _, f := range envoygateway.Fields {
		if _, ok := effects[f.Path]; !ok && f.Verdict == envoygateway.Applied {
			t.Errorf("%s: no test shows its effect", f.Path)
		}
	}
	for path, e := range effects {
		t.Run(path, func(t *testing.T) {
			if strings.HasSuffix(path, "urlRef") {
				t.Setenv("SLUICE_REDIS_URL", "redis://from-the-environment")
			}
			if diff := cmp.Diff(e.want, e.get(takeAll(t, e.program, e.text))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A file that says nothing changes nothing, and the command line wins over one that does.
func TestCommandLineWins(t *testing.T) {
	same := cmp.Options{
		cmp.Exporter(func(reflect.Type) bool { return true }), cmpopts.IgnoreFields(serveFlags{}, "config"),
	}
	var plain serveFlags
	cmd := &cobra.Command{}
	plain.register(cmd)
	if err := plain.check(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, takeAll(t, envoygateway.Serve, "").Serve, same); diff != "" {
		t.Errorf("an empty file changes something (-without +with):\n%s", diff)
	}
	got := takeAll(t, envoygateway.Serve, `
gateway: {controllerName: example.com/file}
admin: {address: {port: 1}}
provider: {type: Kubernetes, kubernetes: {watch: {type: NamespaceSelector, namespaceSelector: {matchLabels: {a: b}}},
  leaderElection: {disable: true, leaseDuration: 1m}}}
`+limits+", timeout: 1s, failClosed: true}", "--controller-name=example.com/line", "--admin-address=127.0.0.1:2",
		"--watch-namespace=x", "--leader-elect", "--lease-duration=20s", "--ratelimit-timeout=2ms",
		"--ratelimit-fail-closed=false").Serve
	plain.controllers, plain.admin, plain.lease = []string{"example.com/line"}, "127.0.0.1:2", 20*time.Second
	plain.watchNamespaces, plain.limits.timeout = []string{"x", "sluice-system"}, 2*time.Millisecond
	if diff := cmp.Diff(plain, got, same); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What contradicts itself, or is wrong, ends the program before it does anything.
func TestConfigurationIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"gateway: {controler: x}":                       `config.yaml:3: gateway.controler: unknown field`,
		k8s + "{leaderElection: {renewDeadline: 30s}}}": "must be longer than --renew-deadline (30s)",
		"envoyProxy: {shutdown: {drainTimeout: 1s}}":    "config.yaml:3: envoyProxy: spec.shutdown.drainTimeout (1s) is",
	} {
		for _, flag := range []string{"--config", "--config-path"} {
			if _, _, err := sluice(t, "serve", flag, configFile(t, text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
	}
	if _, _, err := sluice(t, "run", "--config", configFile(t, "")); err == nil ||
		!strings.Contains(err.Error(), "name a file or a folder") {
		t.Errorf("nothing to read: %v", err)
	}
	if _, _, err := sluice(t, "serve", "--watch-namespace=a", "--watch-namespace-selector=a=b"); err == nil ||
		!strings.Contains(err.Error(), "exclude each other") {
		t.Errorf("names and a selector: %v", err)
	}
}
