package envoygateway

import "slices"

// Program is one of the commands that read the file: a bit each.
type Program int

// The commands that read the file.
const (
	// Serve is sluice serve.
	Serve Program = 1 << iota
	// Run is sluice run.
	Run
	// Count is sluice ratelimit.
	Count
)

// Verdict is what becomes of a field.
type Verdict int

const (
	// Applied fields do what they say.
	Applied Verdict = iota
	// Always is for what is always as the field asks for.
	Always
	// Noticed fields are without effect, and that is said at the start.
	Noticed
	// Refused fields are errors: without them requests would be treated in another way than the file says.
	Refused
)

// Field is what becomes of a field of the file, and of all below it that have no entry of their own.
type Field struct {
	// Path is the field without indexes.
	Path string
	// Verdict is what becomes of it. An Applied field is noticed by programs that are not in In.
	Verdict Verdict
	In      Program
	// Text is one sentence or two in Markdown: what the field does, or why it does nothing and what to do instead.
	Text string
}

// Fields are all fields of the file, in the order of the API.
var Fields = slices.Concat(
	ownFields,
	extensionFields("extensionManager", "What statuses call the extension server."),
	extensionFields("extensionManagers", "What statuses call it. Several extension servers are asked one after the "+
		"other, each about what the one before made, with objects of its own kinds only."),
	furtherFields,
)

// ownFields are those before the extension servers, furtherFields those behind them.
var ownFields = []Field{
	{"gateway.controllerName", Applied, Serve | Run, "The controller whose GatewayClasses are served, as " +
		"`--controller-name`. Without it that is `sluice.dev/gateway-controller`, not Envoy Gateway's: classes are not " +
		"taken over unasked. `sluice run` serves the classes of both, and of this controller too."},

	{"provider.type", Applied, Serve | Run, "`sluice serve` takes `Kubernetes`, or `Custom` with a resource provider " +
		"`Kubernetes` and no infrastructure, which runs no Envoys; `sluice run` takes `Custom` with a resource provider " +
		"`File`. What contradicts the command is an error."},
	{"provider.kubernetes.rateLimitDeployment", Noticed, 0, "The chart runs `sluice ratelimit`: set its values " +
		"`rateLimit.replicas` and `rateLimit.resources`."},
	{"provider.kubernetes.rateLimitHpa", Noticed, 0, "The chart runs `sluice ratelimit`, with as many replicas as its " +
		"value `rateLimit.replicas` says."},
	{"provider.kubernetes.rateLimitPDB", Noticed, 0, "The chart runs `sluice ratelimit`: make a PodDisruptionBudget for " +
		"it by its label `app.kubernetes.io/component: ratelimit`."},
	{"provider.kubernetes.deploy.type", Always, Serve, "The Envoys of a Gateway are in its own namespace, as with " +
		"`GatewayNamespace`. `ControllerNamespace` is noticed: only those of a class with `mergeGateways` are in Sluice's."},
	{"provider.kubernetes.shutdownManager.image", Noticed, 0, "What drains an Envoy is Sluice's own image: see " +
		"`--sluice-image`."},
	{"provider.kubernetes.proxyTopologyInjector.disabled", Noticed, 0, "There is no webhook: Kubernetes tells a pod " +
		"the zone of its node by itself, as a label, from 1.35 on."},
	{"provider.kubernetes.watch.type", Applied, Serve, "`Namespaces` or `NamespaceSelector`: which of the two lists " +
		"below is there."},
	{"provider.kubernetes.watch.namespaces", Applied, Serve, "The namespaces whose objects are read, and Sluice's own, " +
		"as `--watch-namespace`."},
	{"provider.kubernetes.watch.namespaceSelector", Applied, Serve, "The labels of the namespaces whose objects are " +
		"read, and Sluice's own is, as `--watch-namespace-selector`. Labels may change at any time."},
	{"provider.kubernetes.leaderElection.leaseDuration", Applied, Serve, "As `--lease-duration`: 15s."},
	{"provider.kubernetes.leaderElection.renewDeadline", Applied, Serve, "As `--renew-deadline`: 10s."},
	{"provider.kubernetes.leaderElection.retryPeriod", Applied, Serve, "As `--retry-period`: 2s."},
	{"provider.kubernetes.leaderElection.disable", Applied, Serve, "As `--leader-elect=false`. Run one replica then."},
	{"provider.kubernetes.client.rateLimit.qps", Applied, Serve, "Requests a second to the API server. Without it " +
		"reading has no limit of its own, because the API server limits what it takes."},
	{"provider.kubernetes.client.rateLimit.burst", Applied, Serve, "How many more are let through at a time: 100."},
	{"provider.kubernetes.cacheSyncPeriod", Noticed, 0, "There is nothing to repeat: what is read is the only copy, " +
		"and a watch that ends is begun anew with a list."},
	{"provider.custom.resource.type", Applied, Serve | Run, "See `provider.type`."},
	{"provider.custom.resource.file.paths", Applied, Run, "What `sluice run` reads if its command line names nothing."},
	{"provider.custom.resource.kubernetes.watch", Applied, Serve, "As `provider.kubernetes.watch`."},
	{"provider.custom.resource.kubernetes.leaderElection", Applied, Serve, "As `provider.kubernetes.leaderElection`."},
	{"provider.custom.resource.kubernetes.client", Applied, Serve, "As `provider.kubernetes.client`."},
	{"provider.custom.resource.kubernetes.cacheSyncPeriod", Noticed, 0, "As `provider.kubernetes.cacheSyncPeriod`."},
	{"provider.custom.infrastructure.type", Applied, Serve | Run, "`Host` is for `sluice run`, which starts an Envoy on " +
		"its machine with or without it. `Remote` is an error, see below."},
	{"provider.custom.infrastructure.host.configHome", Noticed, 0, "There are no further files of configuration."},
	{"provider.custom.infrastructure.host.dataHome", Applied, Run, "Where Envoy is looked for and installed, as " +
		"`$SLUICE_CACHE`."},
	{"provider.custom.infrastructure.host.stateHome", Applied, Run, "As `--state-dir`."},
	{"provider.custom.infrastructure.host.runtimeDir", Applied, Run, "As `--runtime-dir`."},
	{"provider.custom.infrastructure.remote", Refused, 0, "Sluice runs Envoys in Kubernetes or on its own machine, and " +
		"asks no other service to: without it nobody would serve the Gateways."},

	{"logging.level", Applied, Serve | Count, "By component. `provider` is what is read and written on the API " +
		"server, `infrastructure` the fleets, `xds-server` or `xds` the Envoys' connections, `global-ratelimit` is " +
		"`sluice ratelimit`; all else is `default`. `gateway-api` and `xds-translator` log nothing: what they find is in " +
		"statuses."},
	{"logging.encoder", Applied, Serve | Count, "`Text` or `JSON`. Without it `JSON`."},

	{"admin.address.port", Applied, Serve | Run, "The port of `--admin-address`: 19000."},
	{"admin.address.host", Applied, Serve | Run, "The host of `--admin-address`: 127.0.0.1. Health and metrics are " +
		"answered there too; the rest on loopback only, wherever it listens."},
	{"admin.enableDumpConfig", Noticed, 0, "The log has no configuration in it: ask the admin API for `/config`."},
	{"admin.enablePprof", Always, 0, "Go's profiles are answered always, on loopback only."},

	{"telemetry.metrics.prometheus.disable", Applied, Serve | Run, "`/metrics` is not answered then."},
	{"telemetry.metrics.sinks.type", Applied, Serve | Run, "`OpenTelemetry`."},
	{"telemetry.metrics.sinks.openTelemetry.host", Applied, Serve | Run, "The collector that the program pushes its own " +
		"metrics to, as OTLP without TLS; Envoy's are configured in EnvoyProxies."},
	{"telemetry.metrics.sinks.openTelemetry.port", Applied, Serve | Run, "Its port: 4317."},
	{"telemetry.metrics.sinks.openTelemetry.protocol", Applied, Serve | Run, "`grpc` or `http`, the latter to " +
		"`/v1/metrics`."},
	{"telemetry.metrics.sinks.openTelemetry.exportInterval", Applied, Serve | Run, "How often it pushes: 60s."},
	{"telemetry.metrics.sinks.openTelemetry.exportTimeout", Applied, Serve | Run, "How long a push may take: 30s."},
	{"telemetry.traces", Noticed, 0, "The control plane makes no traces of itself: see its metrics of each stage. " +
		"Traces of requests come from Envoy and are configured elsewhere."},

	{"xdsServer.maxConnectionAge", Applied, Serve, "After that an Envoy is asked to connect anew. Without it " +
		"connections live on: replicas hand Envoys over when they have a reason to."},
	{"xdsServer.maxConnectionAgeGrace", Applied, Serve, "How long an Envoy has for that: 2m."},
	{"xdsServer.maxReceiveMessageSize", Applied, Serve, "The largest message that an Envoy may send: 256Mi."},

	{"rateLimit.backend.type", Applied, Run | Count, "`Redis`. Without `rateLimit` counters are in memory."},
	{"rateLimit.backend.redis.url", Applied, Run | Count, "As `--redis-url`. A list with commas is of a cluster, or of " +
		"Sentinels if it begins with the name of a master."},
	{"rateLimit.backend.redis.urlRef", Applied, Count, "The chart gives the value of the Secret to `sluice " +
		"ratelimit` as `$SLUICE_REDIS_URL`. On one machine set that."},
	{"rateLimit.backend.redis.tls", Applied, Count, "The chart mounts the Secret for `sluice ratelimit` as " +
		"`--redis-tls-dir`; without `certificateRef` the system's CAs are trusted. On one machine use the flag."},
	{"rateLimit.timeout", Applied, Serve | Run, "As `--ratelimit-timeout`; with a `rateLimit` in the file it is 20ms if " +
		"not set, as with Envoy Gateway."},
	{"rateLimit.failClosed", Applied, Serve | Run, "As `--ratelimit-fail-closed`."},
	{"rateLimit.telemetry.metrics", Noticed, 0, "`sluice ratelimit` always answers `/metrics`, on its admin address."},
	{"rateLimit.telemetry.tracing", Noticed, 0, "`sluice ratelimit` makes no traces."},
}

var furtherFields = []Field{
	{"extensionApis.enableEnvoyPatchPolicy", Applied, Serve | Run, "As `--enable-envoy-patch-policy`: " +
		"EnvoyPatchPolicies are applied. Without it `sluice run` applies them and `sluice serve` does not."},
	{"extensionApis.enableBackend", Applied, Serve | Run, "Backends can be used unless the file says `false`."},
	{"extensionApis.disableLua", Applied, Serve | Run, "Deprecated: the opposite of `enableLua`."},
	{"extensionApis.enableLua", Applied, Serve | Run, "As `--enable-lua`: scripts of EnvoyExtensionPolicies are run. " +
		"Without it `sluice run` runs them and `sluice serve` does not."},
	{"extensionApis.enableSDSSecretRef", Noticed, 0, "Secrets of type gateway.envoyproxy.io/sds hold no certificate for " +
		"Sluice: the listeners that name one say so in their status."},
	{"gatewayAPI.enabled", Always, 0, "XBackendTrafficPolicies are always read."},
	{"runtimeFlags", Noticed, 0, "They choose between old and new behaviour of Envoy Gateway: names of listeners are " +
		"always by port and protocol, EndpointSlices always found by an index, and CA certificates of the system shared."},
	{"envoyProxy", Applied, Serve, "What the EnvoyProxies of GatewayClasses and Gateways are merged over, by their " +
		"`mergeType`. It is checked as they are."},
}
