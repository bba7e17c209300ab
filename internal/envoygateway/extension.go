package envoygateway

import (
	"cmp"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// ExtensionServer is an extension server, and how it is reached.
type ExtensionServer struct {
	model.ExtensionManager
	// Target is the address as gRPC takes it, Authority the name that its certificate has to be for.
	Target, Authority string
	// CA is the Secret with the CA certificate of the server, nil for no TLS; Client that with the certificate that is
	// shown to it, nil for none. Without a namespace they are in Sluice's own.
	CA, Client *model.Name
	// MaxMessage is the size in bytes that a request or an answer may have.
	MaxMessage int
	Retry      RetryPolicy
}

// RetryPolicy says how a call is repeated: see gRFC A6.
type RetryPolicy struct {
	// Attempts are all attempts, the first included.
	Attempts int
	// Initial and Max are the shortest and the longest backoff, Multiplier what each is longer than the one before.
	Initial, Max time.Duration
	Multiplier   float64
	// Codes are the names of the gRPC statuses after which it is repeated.
	Codes []string
}

// Envoy Gateway's defaults.
const (
	defaultMaxMessage     = 4 << 20
	defaultAttempts       = 4
	defaultInitialBackoff = 100 * time.Millisecond
	defaultMaxBackoff     = time.Second
	defaultMultiplier     = 2.0
)

// ExtensionServers are the extension servers, in the order in which they are asked.
func (c *Config) ExtensionServers() []ExtensionServer {
	var out []ExtensionServer
	for _, m := range c.GetExtensionManagers() {
		out = append(out, extensionServer(&m))
	}
	return out
}

// ExtensionKinds are the kinds of objects that extension servers understand.
func (c *Config) ExtensionKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, m := range c.GetExtensionManagers() {
		for _, k := range slices.Concat(m.Resources, m.BackendResources, m.PolicyResources) {
			out = append(out, schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind})
		}
	}
	return out
}

// extensionServer returns a server whose fields were checked.
func extensionServer(m *egv1a1.ExtensionManager) ExtensionServer {
	hooks := m.Hooks.XDSTranslator
	out := ExtensionServer{
		ExtensionManager: model.ExtensionManager{
			Name: cmp.Or(m.Name, "extension server"), FailOpen: m.FailOpen,
			Resources: groupKinds(slices.Concat(m.Resources, m.BackendResources)), Policies: groupKinds(m.PolicyResources),
			Translation: model.TranslationScope{
				Listeners: hooks.Translation.ShouldIncludeListeners(), Routes: hooks.Translation.ShouldIncludeRoutes(),
				Clusters: hooks.Translation.ShouldIncludeClusters(), Secrets: hooks.Translation.ShouldIncludeSecrets(),
			},
		},
		MaxMessage: defaultMaxMessage, Retry: retryPolicy(m.Service.Retry),
	}
	for _, h := range hooks.Post {
		out.Hooks = append(out.Hooks, model.Hook(h))
	}
	out.Target, out.Authority = target(m.Service)
	if m.MaxMessageSize != nil {
		out.MaxMessage = int(m.MaxMessageSize.Value())
	}
	if t := m.Service.TLS; t != nil {
		out.CA = secretName(&t.CertificateRef)
		if t.ClientCertificateRef != nil {
			out.Client = secretName(t.ClientCertificateRef)
		}
	}
	return out
}

func groupKinds(list []egv1a1.GroupVersionKind) []model.GroupKind {
	var out []model.GroupKind
	for _, k := range list {
		if g := (model.GroupKind{Group: k.Group, Kind: k.Kind}); !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func secretName(ref *gwv1.SecretObjectReference) *model.Name {
	return &model.Name{Namespace: string(deref(ref.Namespace)), Name: string(ref.Name)}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// target returns the address of a server in the form of gRPC, and the name in its certificate.
func target(s *egv1a1.ExtensionService) (address, authority string) {
	join := func(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
	//lint:ignore SA1019 deprecated, but part of the API and of configurations that people have
	host, port := cmp.Or(deref(s.Hostname), s.Host), cmp.Or(s.Port, 80)
	switch {
	case s.FQDN != nil:
		return "dns:///" + join(s.FQDN.Hostname, s.FQDN.Port), s.FQDN.Hostname
	case s.IP != nil:
		return "passthrough:///" + join(s.IP.Address, s.IP.Port), s.IP.Address
	case s.Unix != nil:
		return "unix:" + s.Unix.Path, "localhost"
	default:
		return "dns:///" + join(host, port), host
	}
}

func retryPolicy(r *egv1a1.ExtensionServiceRetry) RetryPolicy {
	out := RetryPolicy{
		Attempts: defaultAttempts, Initial: defaultInitialBackoff, Max: defaultMaxBackoff, Multiplier: defaultMultiplier,
	}
	if r != nil {
		out.Attempts = cmp.Or(deref(r.MaxAttempts), out.Attempts)
		out.Initial = cmp.Or(Duration(r.InitialBackoff), out.Initial)
		out.Max = cmp.Or(Duration(r.MaxBackoff), out.Max)
		if m := r.BackoffMultiplier; m != nil {
			out.Multiplier = float64(m.Numerator) / float64(cmp.Or(deref(m.Denominator), 100))
		}
		for _, code := range r.RetryableStatusCodes {
			out.Codes = append(out.Codes, string(code))
		}
	}
	if len(out.Codes) == 0 {
		out.Codes = []string{"UNAVAILABLE"}
	}
	return out
}

// extensions checks the extension servers.
func (k *check) extensions() {
	const one, many = "extensionManager", "extensionManagers"
	c := k.config
	switch {
	case c.ExtensionManager != nil && len(c.ExtensionManagers) > 0:
		k.problem(one, "extensionManagers is there too: use one of the two")
	case c.Says(many) && len(c.ExtensionManagers) == 0:
		k.problem(many, "must have an entry: remove it, or add an extension server")
	case c.ExtensionManager != nil:
		k.extension(one, c.ExtensionManager)
	}
	names := map[string]bool{}
	for i := range c.ExtensionManagers {
		m, path := &c.ExtensionManagers[i], fmt.Sprintf("%s[%d]", many, i)
		switch {
		case m.Name == "":
			k.problem(path+".name", "is missing: several extension servers are told apart by their names")
		case names[m.Name]:
			k.problem(path+".name", "%q is the name of another one already", m.Name)
		}
		names[m.Name] = true
		k.extension(path, m)
	}
	if _, err := resource.NewExtensions(c.ExtensionKinds()); err != nil {
		k.problem(one, "%v", err)
	}
}

// extension checks an extension server.
func (k *check) extension(path string, m *egv1a1.ExtensionManager) {
	for field, list := range map[string][]egv1a1.GroupVersionKind{
		"resources": m.Resources, "policyResources": m.PolicyResources, "backendResources": m.BackendResources,
	} {
		for i, gvk := range list {
			if gvk.Group == "" || gvk.Version == "" || gvk.Kind == "" {
				k.problem(fmt.Sprintf("%s.%s[%d]", path, field, i), "needs a group, a version and a kind")
			}
		}
	}
	k.size(path+".maxMessageSize", m.MaxMessageSize)
	k.hooks(path+".hooks.xdsTranslator", m.Hooks)
	if m.Service == nil {
		k.problem(path+".service", "is missing: say where the extension server is")
		return
	}
	k.service(path+".service", m.Service)
	slices.SortFunc(k.problems, resource.Problem.Compare)
}

var hooks = []model.Hook{
	model.HookVirtualHost, model.HookRoute, model.HookHTTPListener, model.HookTranslation, model.HookCluster,
	model.HookEndpoints,
}

func (k *check) hooks(path string, h *egv1a1.ExtensionHooks) {
	if h == nil || h.XDSTranslator == nil || len(h.XDSTranslator.Pre)+len(h.XDSTranslator.Post) == 0 {
		k.problem(path, "has no hooks: the extension server would never be asked")
		return
	}
	for field, list := range map[string][]egv1a1.XDSTranslatorHook{
		"pre": h.XDSTranslator.Pre, "post": h.XDSTranslator.Post,
	} {
		for i, hook := range list {
			if !slices.Contains(hooks, model.Hook(hook)) {
				k.problem(fmt.Sprintf("%s.%s[%d]", path, field, i), "%q is none of %s", hook, listOf(hooks))
			}
		}
	}
}

func (k *check) service(path string, s *egv1a1.ExtensionService) {
	targets := 0
	//lint:ignore SA1019 deprecated, but part of the API and of configurations that people have
	for _, set := range []bool{s.FQDN != nil, s.IP != nil, s.Unix != nil, s.Hostname != nil || s.Host != ""} {
		if set {
			targets++
		}
	}
	if targets != 1 {
		k.problem(path, "needs exactly one of fqdn, ip, unix and the deprecated host")
	}
	if s.IP != nil {
		if _, err := netip.ParseAddr(s.IP.Address); err != nil {
			k.problem(path+".ip.address", "%q is no IP address", s.IP.Address)
		}
	}
	if t := s.TLS; t != nil {
		k.secretReference(path+".tls.certificateRef", &t.CertificateRef)
		if t.ClientCertificateRef != nil {
			k.secretReference(path+".tls.clientCertificateRef", t.ClientCertificateRef)
		}
	}
	if s.Retry != nil {
		k.retry(path+".retry", s.Retry)
	}
}

func (k *check) secretReference(path string, ref *gwv1.SecretObjectReference) {
	if deref(ref.Group) != "" || ref.Kind != nil && *ref.Kind != model.KindSecret || ref.Name == "" {
		k.problem(path, "must name a Secret")
	}
}

func (k *check) retry(path string, r *egv1a1.ExtensionServiceRetry) {
	if n := r.MaxAttempts; n != nil && (*n < 1 || *n > math.MaxUint8) {
		k.problem(path+".maxAttempts", "must be from 1 to %d", math.MaxUint8)
	}
	for field, d := range map[string]*gwv1.Duration{"initialBackoff": r.InitialBackoff, "maxBackoff": r.MaxBackoff} {
		if d == nil {
			continue
		}
		if parsed, err := time.ParseDuration(string(*d)); err != nil || parsed <= 0 {
			k.problem(path+"."+field, "%q is no duration: write one like 500ms, 10s or 5m", *d)
		}
	}
	if m := r.BackoffMultiplier; m != nil && (m.Numerator <= 0 || m.Denominator != nil && *m.Denominator <= 0) {
		k.problem(path+".backoffMultiplier", "must be more than nothing")
	}
	for i, code := range r.RetryableStatusCodes {
		var known codes.Code
		if known.UnmarshalJSON([]byte(strconv.Quote(string(code)))) != nil {
			k.problem(fmt.Sprintf("%s.RetryableStatusCodes[%d]", path, i), "%q is no status of gRPC", code)
		}
	}
}

// extensionFields is what becomes of the fields of an extension server.
func extensionFields(path, text string) []Field {
	var out []Field
	add := func(field string, verdict Verdict, text string) {
		in := Serve | Run
		if verdict != Applied {
			in = 0
		}
		out = append(out, Field{path + field, verdict, in, text})
	}
	add(".name", Applied, text)
	add(".resources", Applied, "Kinds of objects that filters of type `ExtensionRef` may name. In files they are read "+
		"without a schema; in a cluster Sluice needs the right to read them, see the chart's value `extensionRules`.")
	add(".policyResources", Applied, "Kinds of policies, attached by `targetRef`, `targetRefs` and `targetSelectors`.")
	add(".backendResources", Applied, "Kinds of objects that `backendRefs` may name.")
	add(".hooks.xdsTranslator.pre", Noticed, "There is nothing yet that could be changed: Envoy Gateway never calls "+
		"them either. Use `post`.")
	add(".hooks.xdsTranslator.post", Applied, "What it is asked about: see the page on extension servers.")
	add(".hooks.xdsTranslator.translation", Applied, "What the hook `Translation` is given and decides about: clusters "+
		"and secrets, with their private keys, unless `includeAll` is false; listeners and routes if it is true.")
	add(".service.host", Applied, "Deprecated: the same as `fqdn.hostname`.")
	add(".service.port", Applied, "Deprecated, for `host`: 80.")
	add(".service.hostname", Applied, "The same as `host`.")
	add(".service.fqdn", Applied, "A name in DNS, and a port.")
	add(".service.ip", Applied, "An IP address, and a port.")
	add(".service.unix", Applied, "The path of a socket.")
	add(".service.zone", Noticed, "An extension server has one address: its zone means nothing.")
	add(".service.tls", Applied, "Secrets with the CA certificate of the server (`tls.crt`, or `ca.crt`) and with the "+
		"certificate to show to it. They are read from where all objects are read, in Sluice's namespace if none is named "+
		"(`default` for files), and may change at any time.")
	add(".service.retry", Applied, "How a call is repeated before it counts as failed: 4 attempts, 100ms to 1s apart, "+
		"after `UNAVAILABLE`. What has failed is asked again every few seconds, and at once when the server is back.")
	add(".failOpen", Applied, "What the server cannot be asked about is served without its changes. Else it stays what "+
		"it was, and only that: all other configuration goes on changing.")
	add(".maxMessageSize", Applied, "Of a request and of an answer: 4Mi.")
	return out
}
