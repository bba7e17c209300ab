package envoygateway

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sluiceresource "github.com/sluice-gateway/sluice/internal/resource"
)

// check gathers what is wrong with a file that could be decoded, and what is to be noticed.
type check struct {
	config   *Config
	program  Program
	problems []sluiceresource.Problem
}

func (k *check) problem(path, format string, args ...any) {
	k.problems = append(k.problems, k.config.file.Problem(path, fmt.Sprintf(format, args...)))
}

func (k *check) notice(path, message string) {
	p := k.config.file.Problem(path, message)
	k.config.Notices = append(k.config.Notices, sluiceresource.Notice{
		File: p.File, Line: p.Line, Message: p.Field + ": " + message,
	})
}

// identity checks that it is the kind of file that it should be.
func (k *check) identity(is metav1.TypeMeta) {
	if is.APIVersion != egv1a1.GroupVersion.String() {
		k.problem("apiVersion", "must be %s", egv1a1.GroupVersion)
	}
	if is.Kind != egv1a1.KindEnvoyGateway {
		k.problem("kind", "must be %s", egv1a1.KindEnvoyGateway)
	}
}

// commands are the names of the programs.
var commands = map[Program]string{Serve: "sluice serve", Run: "sluice run", Count: "sluice ratelimit"}

// fields reports on those that are refused or without effect.
func (k *check) fields() {
	for _, f := range Fields {
		if !meant(k.config.file.Get(f.Path)) {
			continue
		}
		switch {
		case f.Verdict == Refused:
			k.problem(f.Path, "%s", plain(f.Text))
		case k.program == Count:
			// It shares the file with sluice serve, which says what there is to say.
		case f.Verdict == Noticed:
			k.notice(f.Path, "without effect: "+plain(f.Text))
		case f.Verdict == Applied && f.In&k.program == 0:
			k.notice(f.Path, "without effect in "+commands[k.program])
		}
	}
}

// meant reports whether a value says more than leaving it out.
func meant(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, inner := range v {
			if meant(inner) {
				return true
			}
		}
		return false
	}
	return true
}

// plain takes the marks out of a text in Markdown.
func plain(text string) string { return strings.ReplaceAll(text, "`", "") }

// values checks what the Go type cannot say.
func (k *check) values() {
	k.choices()
	k.durations()
	k.provider()
	k.logging()
	k.rateLimit()
	k.collectors()
	k.extensions()
	if x := k.config.XDSServer; x != nil {
		k.size("xdsServer.maxReceiveMessageSize", x.MaxReceiveMessageSize)
	}
	//lint:ignore SA1019 deprecated, but part of the API and of configurations that people have
	if a := k.config.ExtensionAPIs; a != nil && a.DisableLua != nil && *a.DisableLua == a.EnableLua {
		k.problem("extensionApis.disableLua", "contradicts enableLua: remove it")
	}
	if a := k.config.Admin; a != nil && a.Address != nil && (a.Address.Port < 0 || a.Address.Port > math.MaxUint16) {
		k.problem("admin.address.port", "%d is no port", a.Address.Port)
	}
}

// choices are the fields that have a few values.
var choices = []struct {
	path   string
	values []string
}{
	{"provider.type", []string{"Kubernetes", "Custom"}},
	{"provider.kubernetes.deploy.type", []string{"ControllerNamespace", "GatewayNamespace"}},
	{"provider.kubernetes.watch.type", []string{"Namespaces", "NamespaceSelector"}},
	{"provider.custom.resource.type", []string{"File", "Kubernetes"}},
	{"provider.custom.resource.kubernetes.watch.type", []string{"Namespaces", "NamespaceSelector"}},
	{"provider.custom.infrastructure.type", []string{"Host", "Remote"}},
	{"logging.encoder", []string{"Text", "JSON"}},
	{"telemetry.metrics.sinks.type", []string{"OpenTelemetry"}},
	{"telemetry.metrics.sinks.openTelemetry.protocol", []string{"grpc", "http"}},
	{"telemetry.traces.sink.type", []string{"OpenTelemetry"}},
	{"telemetry.traces.sink.openTelemetry.protocol", []string{"grpc", "http"}},
	{"rateLimit.backend.type", []string{"Redis"}},
	{"rateLimit.telemetry.tracing.provider.type", []string{"OpenTelemetry"}},
	{"gatewayAPI.enabled", []string{"XBackendTrafficPolicy"}},
	{"runtimeFlags.enabled", []string{"XDSNameSchemeV2", "EndpointSliceIndex", "PerResourceSystemCASecret"}},
	{"runtimeFlags.disabled", []string{"XDSNameSchemeV2", "EndpointSliceIndex", "PerResourceSystemCASecret"}},
}

func (k *check) choices() {
	for _, c := range choices {
		value := k.config.file.Get(c.path)
		list, ok := value.([]any)
		if !ok && value != nil {
			list = []any{value}
		}
		for _, v := range list {
			if s, ok := v.(string); ok && !slices.Contains(c.values, s) {
				k.problem(c.path, "%q is none of %s", s, strings.Join(c.values, ", "))
			}
		}
	}
}

// durations are the fields that are one, all of them more than none.
var durations = []string{
	"provider.kubernetes.leaderElection.leaseDuration", "provider.kubernetes.leaderElection.renewDeadline",
	"provider.kubernetes.leaderElection.retryPeriod", "provider.kubernetes.cacheSyncPeriod",
	"provider.custom.resource.kubernetes.leaderElection.leaseDuration",
	"provider.custom.resource.kubernetes.leaderElection.renewDeadline",
	"provider.custom.resource.kubernetes.leaderElection.retryPeriod",
	"provider.custom.resource.kubernetes.cacheSyncPeriod",
	"telemetry.metrics.sinks.openTelemetry.exportInterval", "telemetry.metrics.sinks.openTelemetry.exportTimeout",
	"telemetry.traces.sink.openTelemetry.exportInterval", "telemetry.traces.sink.openTelemetry.exportTimeout",
	"xdsServer.maxConnectionAge", "xdsServer.maxConnectionAgeGrace", "rateLimit.timeout",
}

func (k *check) durations() {
	for _, path := range durations {
		text, ok := k.config.file.Get(path).(string)
		if !ok {
			continue
		}
		if d, err := time.ParseDuration(text); err != nil || d <= 0 {
			k.problem(path, "%q is no duration: write one like 500ms, 10s or 5m", text)
		}
	}
}

func (k *check) size(path string, q *resource.Quantity) {
	if q == nil {
		return
	}
	if n, ok := q.AsInt64(); !ok || n <= 0 || n > math.MaxInt32 {
		k.problem(path, "must be more than nothing and less than 2Gi")
	}
}

// provider checks that it is one that the program can be.
func (k *check) provider() {
	p := k.config.Provider
	if p == nil {
		return
	}
	if p.Kubernetes != nil {
		k.watch("provider.kubernetes.watch", p.Kubernetes.Watch)
		if d := p.Kubernetes.Deploy; d != nil && d.Type != nil &&
			*d.Type == egv1a1.KubernetesDeployModeTypeControllerNamespace {
			k.notice("provider.kubernetes.deploy.type", "Envoys run in the namespace of their Gateway all the same, "+
				"but for those of a class with mergeGateways")
		}
	}
	if p.Type != egv1a1.ProviderTypeCustom {
		if p.Custom != nil {
			k.problem("provider.custom", "provider.type is not Custom: remove the one or change the other")
		}
		if k.program == Run {
			k.notice("provider.type", "sluice run reads files: to read a cluster use sluice serve")
		}
		return
	}
	if p.Custom == nil {
		k.problem("provider.type", "Custom needs provider.custom")
		return
	}
	k.custom(p.Custom)
}

func (k *check) custom(c *egv1a1.EnvoyGatewayCustomProvider) {
	if c.Resource.Kubernetes != nil {
		k.watch("provider.custom.resource.kubernetes.watch", c.Resource.Kubernetes.Watch)
	}
	files := c.Resource.Type == egv1a1.ResourceProviderTypeFile
	switch {
	case files && (c.Resource.File == nil || len(c.Resource.File.Paths) == 0):
		k.problem("provider.custom.resource.file", "File needs paths")
	case files && k.program == Serve:
		k.problem("provider.custom.resource.type", "sluice serve reads a cluster: to read files use sluice run")
	case !files && k.program == Run:
		k.notice("provider.custom.resource.type", "sluice run reads files: to read a cluster use sluice serve")
	case !files && k.program == Serve && c.Infrastructure != nil:
		k.problem("provider.custom.infrastructure", "what is read from a cluster is served by Envoys in it: use "+
			"provider.type Kubernetes, or leave infrastructure out to run the Envoys yourself")
	}
}

func (k *check) watch(path string, w *egv1a1.KubernetesWatchMode) {
	if w == nil {
		return
	}
	byName := w.Type == egv1a1.KubernetesWatchModeTypeNamespaces
	switch {
	case w.Type == "":
		k.problem(path+".type", "must be Namespaces or NamespaceSelector")
	case byName && len(w.Namespaces) == 0:
		k.problem(path+".namespaces", "type Namespaces needs at least one")
	case byName && w.NamespaceSelector != nil:
		k.problem(path+".namespaceSelector", "type is Namespaces: remove it")
	case !byName && w.NamespaceSelector == nil:
		k.problem(path+".namespaceSelector", "type NamespaceSelector needs one")
	case !byName && len(w.Namespaces) > 0:
		k.problem(path+".namespaces", "type is NamespaceSelector: remove it")
	case !byName:
		if _, err := metav1.LabelSelectorAsSelector(w.NamespaceSelector); err != nil {
			k.problem(path+".namespaceSelector", "%v", err)
		}
	}
}

// components are those of EnvoyGatewayLogComponent.
var components = []egv1a1.EnvoyGatewayLogComponent{
	egv1a1.LogComponentGatewayDefault, egv1a1.LogComponentProviderRunner, egv1a1.LogComponentGatewayAPIRunner,
	egv1a1.LogComponentXdsTranslatorRunner, egv1a1.LogComponentXdsServerRunner, egv1a1.LogComponentXdsRunner,
	egv1a1.LogComponentInfrastructureRunner, egv1a1.LogComponentGlobalRateLimitRunner,
}

var logLevels = []egv1a1.LogLevel{
	egv1a1.LogLevelDebug, egv1a1.LogLevelInfo, egv1a1.LogLevelWarn, egv1a1.LogLevelError,
}

func (k *check) logging() {
	if k.config.Logging == nil {
		return
	}
	levels, _ := k.config.file.Get("logging.level").(map[string]any)
	for name := range levels {
		path, component := "logging.level."+name, egv1a1.EnvoyGatewayLogComponent(name)
		if !slices.Contains(components, component) {
			k.problem(path, "%q is none of %s", name, listOf(components))
		} else if level := k.config.Logging.Level[component]; !slices.Contains(logLevels, level) {
			k.problem(path, "%q is none of %s", level, listOf(logLevels))
		}
	}
	slices.SortFunc(k.problems, sluiceresource.Problem.Compare)
}

func listOf[T ~string](values []T) string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return strings.Join(out, ", ")
}

func (k *check) collectors() {
	for i, s := range k.config.Collectors() {
		path := fmt.Sprintf("telemetry.metrics.sinks[%d].openTelemetry", i)
		switch {
		case s == nil:
			k.problem(path, "is missing: name the host of a collector")
		case s.Host == "":
			k.problem(path+".host", "must be the host of a collector")
		case s.Port < 0 || s.Port > math.MaxUint16:
			k.problem(path+".port", "%d is no port", s.Port)
		}
	}
}

func (k *check) rateLimit() {
	if k.config.RateLimit == nil {
		return
	}
	const path = "rateLimit.backend.redis"
	redis := k.config.RateLimit.Backend.Redis
	switch {
	case k.config.RateLimit.Backend.Type == "":
		k.problem("rateLimit.backend.type", "must be Redis")
	case redis == nil:
		k.problem(path, "Redis needs a url or a urlRef")
	case (redis.URL != nil && *redis.URL != "") == (redis.URLRef != nil):
		k.problem(path, "exactly one of url and urlRef must be set")
	case redis.URLRef != nil:
		k.redisReference(path+".urlRef", redis.URLRef.SecretKeyRef)
	}
	if k.program == Run && redis != nil && redis.TLS != nil && redis.TLS.CertificateRef != nil {
		k.problem(path+".tls.certificateRef", "there are no Secrets to read on one machine: use --redis-tls-dir")
	}
}

func (k *check) redisReference(path string, ref *corev1.SecretKeySelector) {
	switch {
	case ref == nil || ref.Name == "" || ref.Key == "":
		k.problem(path+".secretKeyRef", "needs the name of a Secret and a key in it")
	case ref.Optional != nil && *ref.Optional:
		k.problem(path+".secretKeyRef.optional", "must not be true: counters would be where nobody expects them")
	case k.program == Run:
		k.problem(path, "there are no Secrets to read on one machine: set $SLUICE_REDIS_URL or --redis-url")
	}
}
