// Package envoygateway reads the configuration file of Envoy Gateway: kind EnvoyGateway of
// gateway.envoyproxy.io/v1alpha1.
//
// The file is decoded strictly. [Fields] says of each of its fields what becomes of it here: it is applied, or it has
// no effect and that is noticed, or it is refused with a reason. What it says is a default for the command line.
package envoygateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// Config is a file that is valid. The zero value says nothing.
type Config struct {
	egv1a1.EnvoyGatewaySpec
	// Proxy is the field envoyProxy, checked against the schema of EnvoyProxies and defaulted; nil if there is none.
	Proxy *egv1a1.EnvoyProxySpec
	// Notices are what a user should know who reads the file with a program: fields that have no effect there, or that
	// are not where they belong.
	Notices []resource.Notice

	file *resource.Configuration
}

// Load reads the file for a program. The error names all that is wrong, one line each, with file, line and field.
func Load(path string, program Program) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	var object egv1a1.EnvoyGateway
	file, problems := resource.ReadConfiguration(path, text, &object)
	if len(problems) > 0 {
		return nil, join(problems)
	}
	c := &Config{EnvoyGatewaySpec: object.EnvoyGatewaySpec, file: file}
	if program != Count {
		// It shares the file with sluice serve, which says what there is to say.
		c.Notices = file.Notices()
	}
	k := &check{config: c, program: program}
	k.identity(object.TypeMeta)
	k.fields()
	k.values()
	if c.EnvoyProxy != nil {
		spec, problems := file.Spec("envoyProxy", "EnvoyProxy")
		k.problems = append(k.problems, problems...)
		if p, ok := spec.(*egv1a1.EnvoyProxy); ok {
			c.Proxy = &p.Spec
		}
	}
	if len(k.problems) > 0 {
		return nil, join(k.problems)
	}
	return c, nil
}

func join(problems []resource.Problem) error {
	out := make([]error, len(problems))
	for i, p := range problems {
		out[i] = errors.New(p.String())
	}
	return errors.Join(out...)
}

// Says reports whether the file has a field, whatever its value.
func (c *Config) Says(path string) bool { return c.file != nil && c.file.Get(path) != nil }

// Problem returns an error at a field of the file.
func (c *Config) Problem(path, message string) error {
	return errors.New(c.file.Problem(path, message).String())
}

// Kubernetes returns how the API server is read: by provider.kubernetes or provider.custom.resource.kubernetes.
func (c *Config) Kubernetes() egv1a1.EnvoyGatewayKubernetesConfiguration {
	switch p := c.Provider; {
	case p == nil:
	case p.Custom != nil && p.Custom.Resource.Kubernetes != nil:
		return p.Custom.Resource.Kubernetes.EnvoyGatewayKubernetesConfiguration
	case p.Kubernetes != nil:
		return p.Kubernetes.EnvoyGatewayKubernetesConfiguration
	}
	return egv1a1.EnvoyGatewayKubernetesConfiguration{}
}

// Controller returns the controller whose classes are served; empty if the file does not say.
func (c *Config) Controller() string {
	if c.Gateway == nil {
		return ""
	}
	return c.Gateway.ControllerName
}

// NoEnvoys says that Envoys are somebody else's: the provider is Custom, without infrastructure.
func (c *Config) NoEnvoys() bool {
	return c.Provider != nil && c.Provider.Type == egv1a1.ProviderTypeCustom && c.Provider.Custom != nil &&
		c.Provider.Custom.Infrastructure == nil
}

// Host returns the folders of an Envoy on this machine.
func (c *Config) Host() egv1a1.EnvoyGatewayHostInfrastructureProvider {
	if c.Provider == nil || c.Provider.Custom == nil || c.Provider.Custom.Infrastructure == nil ||
		c.Provider.Custom.Infrastructure.Host == nil {
		return egv1a1.EnvoyGatewayHostInfrastructureProvider{}
	}
	return *c.Provider.Custom.Infrastructure.Host
}

// Paths returns the files and folders to read.
func (c *Config) Paths() []string {
	if c.Provider == nil || c.Provider.Custom == nil || c.Provider.Custom.Resource.File == nil {
		return nil
	}
	return c.Provider.Custom.Resource.File.Paths
}

// Selector returns what selects the namespaces to watch; nil for no selector.
func (c *Config) Selector() labels.Selector {
	watch := c.Kubernetes().Watch
	if watch == nil || watch.NamespaceSelector == nil {
		return nil
	}
	s, err := metav1.LabelSelectorAsSelector(watch.NamespaceSelector)
	if err != nil { // it was checked
		return nil
	}
	return s
}

// AdminAddress returns host:port of the admin API, empty if the file does not say.
func (c *Config) AdminAddress() string {
	if c.Admin == nil || c.Admin.Address == nil {
		return ""
	}
	host, port := egv1a1.GatewayAdminHost, egv1a1.GatewayAdminPort
	if c.Admin.Address.Host != "" {
		host = c.Admin.Address.Host
	}
	if c.Admin.Address.Port != 0 {
		port = c.Admin.Address.Port
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// NoMetrics says that metrics are not to be served.
func (c *Config) NoMetrics() bool {
	return c.Telemetry != nil && c.Telemetry.Metrics != nil && c.Telemetry.Metrics.Prometheus != nil &&
		c.Telemetry.Metrics.Prometheus.Disable
}

// Collectors are where the program pushes its own metrics to.
func (c *Config) Collectors() []*egv1a1.EnvoyGatewayOpenTelemetrySink {
	if c.Telemetry == nil || c.Telemetry.Metrics == nil {
		return nil
	}
	var out []*egv1a1.EnvoyGatewayOpenTelemetrySink
	for _, s := range c.Telemetry.Metrics.Sinks {
		out = append(out, s.OpenTelemetry)
	}
	return out
}

// NoBackends says that objects of kind Backend must not be used: the file says false, and not merely nothing.
func (c *Config) NoBackends() bool {
	const path = "extensionApis.enableBackend"
	return c.Says(path) && !c.ExtensionAPIs.EnableBackend
}

// Lua says whether scripts of policies may be run; nil if the file does not say.
func (c *Config) Lua() *bool {
	if c.Says("extensionApis.enableLua") {
		return &c.ExtensionAPIs.EnableLua
	}
	if c.ExtensionAPIs == nil {
		return nil
	}
	//lint:ignore SA1019 deprecated, but part of the API and of configurations that people have
	if disable := c.ExtensionAPIs.DisableLua; disable != nil {
		allowed := !*disable
		return &allowed
	}
	return nil
}

// Patches says whether EnvoyPatchPolicies may be used; nil if the file does not say.
func (c *Config) Patches() *bool {
	if !c.Says("extensionApis.enableEnvoyPatchPolicy") {
		return nil
	}
	return &c.ExtensionAPIs.EnableEnvoyPatchPolicy
}

// rateLimitTimeout is that of Envoy Gateway for a rateLimit without a timeout.
const rateLimitTimeout = 20 * time.Millisecond

// RateLimitTimeout is how long a request waits for the answer about its global limits, 0 if the file does not say.
func (c *Config) RateLimitTimeout() time.Duration {
	if c.RateLimit == nil {
		return 0
	}
	if c.RateLimit.Timeout == nil {
		return rateLimitTimeout
	}
	return Duration(c.RateLimit.Timeout)
}

// RedisURL returns the URL of Redis in the form of --redis-url, empty if the file has none.
func (c *Config) RedisURL() string {
	if c.RateLimit == nil || c.RateLimit.Backend.Redis == nil || c.RateLimit.Backend.Redis.URL == nil {
		return ""
	}
	url, scheme := *c.RateLimit.Backend.Redis.URL, "redis://"
	if c.RateLimit.Backend.Redis.TLS != nil {
		scheme = "rediss://"
	}
	if strings.Contains(url, "://") {
		return url
	}
	hosts := strings.Split(url, ",")
	var parameters []string
	if len(hosts) > 1 && !strings.Contains(hosts[0], ":") { // the name of a master, as envoyproxy/ratelimit has it
		parameters, hosts = append(parameters, "master_set="+hosts[0]), hosts[1:]
	}
	for _, host := range hosts[1:] {
		parameters = append(parameters, "addr="+host)
	}
	out := scheme + hosts[0]
	if len(parameters) > 0 {
		out += "?" + strings.Join(parameters, "&")
	}
	return out
}

// Duration returns a duration of the Gateway API, which was checked; 0 for nil.
func Duration(d *gwv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	out, _ := time.ParseDuration(string(*d)) // it was checked
	return out
}
