package main

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	fleetkube "github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// settings are what only the configuration file says. The zero value is what holds without one.
type settings struct {
	logs       logging
	connection xds.Connection
	// noMetrics has /metrics not answered, noBackends has objects of kind Backend refused.
	noMetrics, noBackends bool
	// qps and burst limit the requests to the API server; 0 is client-go's own for writing, and no limit for reading.
	qps   float32
	burst int
	// proxy is what EnvoyProxies are merged over, nil for nothing.
	proxy *egv1a1.EnvoyProxySpec
	// sinks are where metrics are pushed to.
	sinks []ops.Sink
	// servers are the extension servers.
	servers extensionServers
	// cache is where Envoy is installed, empty for the usual place.
	cache string
}

// gather returns what /metrics answers with; nil for nothing.
func (s *settings) gather(m *ops.Metrics) prometheus.Gatherer {
	if s.noMetrics {
		return nil
	}
	return m.Registry()
}

// push pushes metrics until the context ends. The returned function waits for the last push.
func (s *settings) push(ctx context.Context, m *ops.Metrics, log *slog.Logger) (wait func()) {
	process := ops.Process{Name: "sluice", Instance: replicaName(), Version: version, Started: time.Now()}
	var pushing sync.WaitGroup
	for _, sink := range s.sinks {
		pushing.Go(func() {
			if err := sink.Push(ctx, m.Registry(), process, log); err != nil {
				log.Error("Metrics are not pushed", "error", err)
			}
		})
	}
	return pushing.Wait
}

// sinksOf are the collectors that the file names.
func sinksOf(c *envoygateway.Config) []ops.Sink {
	var out []ops.Sink
	for _, s := range c.Collectors() {
		port := cmp.Or(s.Port, defaultCollectorPort)
		out = append(out, ops.Sink{
			Address: net.JoinHostPort(s.Host, strconv.Itoa(int(port))), HTTP: s.Protocol == egv1a1.HTTPProtocol,
			Interval: envoygateway.Duration(s.ExportInterval), Timeout: envoygateway.Duration(s.ExportTimeout),
		})
	}
	return out
}

// defaultCollectorPort is that of OTLP over gRPC, and Envoy Gateway's for both protocols.
const defaultCollectorPort = 4317

// configFlag names the configuration file.
type configFlag struct{ path string }

func (f *configFlag) register(cmd *cobra.Command) {
	const usage = "Configuration file of kind EnvoyGateway (gateway.envoyproxy.io/v1alpha1), read at the start; " +
		"what the command line says wins"
	cmd.Flags().StringVar(&f.path, "config", "", usage)
	cmd.Flags().StringVar(&f.path, "config-path", "", "The same, as Envoy Gateway names it")
}

// load returns what the file says, an empty configuration if there is none.
func (f *configFlag) load(program envoygateway.Program) (*envoygateway.Config, error) {
	if f.path == "" {
		return &envoygateway.Config{}, nil
	}
	return envoygateway.Load(f.path, program)
}

// take has a flag that is not on the command line follow the file, if that says anything.
func take[T comparable](cmd *cobra.Command, flag string, into *T, value T) {
	var nothing T
	if value != nothing && !cmd.Flags().Changed(flag) {
		*into = value
	}
}

// take has the flags that are not on the command line follow the file.
func (f *serveFlags) take(cmd *cobra.Command, c *envoygateway.Config) error {
	if name := c.Controller(); name != "" && !cmd.Flags().Changed("controller-name") {
		f.controllers = []string{name}
	}
	f.takeKubernetes(cmd, c)
	take(cmd, "admin-address", &f.admin, c.AdminAddress())
	f.limits.take(cmd, c)
	f.extensions.take(cmd, c)
	if c.NoEnvoys() {
		take(cmd, "sluice-image", &f.noEnvoys, true)
	}
	f.settings = settings{
		logs: newLogging(c.Logging), noMetrics: c.NoMetrics(), noBackends: c.NoBackends(), proxy: c.Proxy,
		sinks: sinksOf(c),
	}
	var err error
	if f.servers, err = serversOf(c); err != nil {
		return err
	}
	if x := c.XDSServer; x != nil {
		f.connection.MaxAge = envoygateway.Duration(x.MaxConnectionAge)
		f.connection.AgeGrace = envoygateway.Duration(x.MaxConnectionAgeGrace)
		if x.MaxReceiveMessageSize != nil {
			f.connection.MaxRequest = int(x.MaxReceiveMessageSize.Value())
		}
	}
	if client := c.Kubernetes().Client; client != nil && client.RateLimit != nil {
		// Either alone has the other's default.
		f.qps = float32(egv1a1.DefaultKubernetesClientQPS)
		f.burst = int(egv1a1.DefaultKubernetesClientBurst)
		if client.RateLimit.QPS != nil {
			f.qps = float32(*client.RateLimit.QPS)
		}
		if client.RateLimit.Burst != nil {
			f.burst = int(*client.RateLimit.Burst)
		}
	}
	if c.Proxy != nil {
		if err := fleetkube.Check(c.Proxy); err != nil {
			return c.Problem("envoyProxy", err.Error())
		}
	}
	return nil
}

// takeKubernetes takes over how objects are read, and who leads.
func (f *serveFlags) takeKubernetes(cmd *cobra.Command, c *envoygateway.Config) {
	kubernetes := c.Kubernetes()
	// Either flag says all about what is watched.
	if w := kubernetes.Watch; w != nil &&
		!cmd.Flags().Changed("watch-namespace") && !cmd.Flags().Changed("watch-namespace-selector") {
		f.watchNamespaces = w.Namespaces
		if s := c.Selector(); s != nil {
			f.watchSelector = s.String()
		}
	}
	if l := kubernetes.LeaderElection; l != nil {
		take(cmd, "lease-duration", &f.lease, envoygateway.Duration(l.LeaseDuration))
		take(cmd, "renew-deadline", &f.renew, envoygateway.Duration(l.RenewDeadline))
		take(cmd, "retry-period", &f.retry, envoygateway.Duration(l.RetryPeriod))
		if l.Disable != nil && !cmd.Flags().Changed("leader-elect") {
			f.elect = !*l.Disable
		}
	}
}

// take has the flags that are not on the command line follow the file.
func (f *runFlags) take(cmd *cobra.Command, c *envoygateway.Config) (err error) {
	host := c.Host()
	take(cmd, "state-dir", &f.stateDir, deref(host.StateHome))
	take(cmd, "runtime-dir", &f.runtimeDir, deref(host.RuntimeDir))
	take(cmd, "admin-address", &f.admin, c.AdminAddress())
	f.limits.take(cmd, c)
	f.extensions.take(cmd, c)
	f.counters.take(cmd, c)
	f.controllers = localControllers(c)
	f.settings = settings{
		noMetrics: c.NoMetrics(), noBackends: c.NoBackends(), cache: deref(host.DataHome), sinks: sinksOf(c),
	}
	f.servers, err = serversOf(c)
	return err
}

func (f *extensionFlags) take(cmd *cobra.Command, c *envoygateway.Config) {
	if lua := c.Lua(); lua != nil && !cmd.Flags().Changed("enable-lua") {
		f.lua = *lua
	}
	if patches := c.Patches(); patches != nil && !cmd.Flags().Changed("enable-envoy-patch-policy") {
		f.patches = *patches
	}
}

func (f *limitFlags) take(cmd *cobra.Command, c *envoygateway.Config) {
	if c.RateLimit != nil {
		take(cmd, "ratelimit-fail-closed", &f.failClosed, c.RateLimit.FailClosed)
		take(cmd, "ratelimit-timeout", &f.timeout, c.RateLimitTimeout())
	}
}

func (c *counterFlags) take(cmd *cobra.Command, config *envoygateway.Config) {
	take(cmd, "redis-url", &c.redisURL, cmp.Or(c.environment(), config.RedisURL()))
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
