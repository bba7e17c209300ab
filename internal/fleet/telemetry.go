package fleet

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// MetricsOf returns what an EnvoyProxy, which may be nil, says of the metrics (telemetry.metrics), as far as Envoy has
// to know it from its start. sinks are those of the EnvoyProxy. serviceDomain is what the DNS names of Services end
// with; where it is empty there are none, and Services have endpoints. The error names the field.
func MetricsOf(proxy *egv1a1.EnvoyProxySpec, sinks []resolve.FleetSink, serviceDomain string) (Metrics, error) {
	var out Metrics
	if proxy == nil || proxy.Telemetry == nil || proxy.Telemetry.Metrics == nil {
		return out, nil
	}
	spec := proxy.Telemetry.Metrics
	if p := spec.Prometheus; p != nil {
		out.Disabled = p.Disable
		if p.Compression != nil {
			out.Compression = strings.ToLower(string(p.Compression.Type))
			if least := p.Compression.MinContentLength; least != nil {
				out.CompressFrom = uint32(min(max(least.Value(), 0), math.MaxUint32)) //nolint:gosec // in range
			}
		}
	}
	for _, m := range spec.Matches {
		out.More = append(out.More, statMatcher(m))
	}
	for i, sink := range sinks {
		if sink.Backend == (model.BackendKey{}) || i >= len(spec.Sinks) || spec.Sinks[i].OpenTelemetry == nil {
			continue // as the status of the EnvoyProxy says
		}
		s, err := sinkOf(sink, spec.Sinks[i].OpenTelemetry, serviceDomain)
		if err != nil {
			return out, fmt.Errorf("spec.telemetry.metrics.sinks[%d]: %w", i, err)
		}
		out.Sinks = append(out.Sinks, s)
	}
	return out, nil
}

func statMatcher(m egv1a1.StringMatch) *matcherv3.StringMatcher {
	how := egv1a1.StringMatchExact
	if m.Type != nil {
		how = *m.Type
	}
	switch how {
	case egv1a1.StringMatchPrefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}}
	case egv1a1.StringMatchSuffix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: m.Value}}
	case egv1a1.StringMatchRegularExpression:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: m.Value},
		}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}
}

// sinkOf is where metrics are sent: a Service by its name, or the endpoints of a Backend or server.
func sinkOf(s resolve.FleetSink, spec *egv1a1.ProxyOpenTelemetrySink, serviceDomain string) (Sink, error) {
	out := Sink{
		Authority:     s.Backend.Authority(),
		DeltaCounters: spec.ReportCountersAsDeltas != nil && *spec.ReportCountersAsDeltas,
		Resource:      spec.ResourceAttributes,
	}
	out.DeltaHistograms = spec.ReportHistogramsAsDeltas != nil && *spec.ReportHistogramsAsDeltas
	for _, h := range spec.Headers {
		out.Headers = append(out.Headers, &corev3.HeaderValue{Key: strings.ToLower(string(h.Name)), Value: h.Value})
	}
	if s.Backend.Kind == model.KindService && serviceDomain != "" {
		host := s.Backend.Name.Name + "." + s.Backend.Namespace + "." + serviceDomain
		out.Addresses, out.Names = []*corev3.Address{Address(host, s.Backend.Port)}, true
		return out, nil
	}
	for _, e := range s.Endpoints {
		if e.Port == 0 {
			return out, fmt.Errorf("%s is a Unix socket of the proxy's own machine: use a Service", s.Backend.Ref())
		}
		_, err := netip.ParseAddr(e.Address)
		out.Names = out.Names || err != nil
		out.Addresses = append(out.Addresses, Address(e.Address, e.Port))
	}
	if len(out.Addresses) == 0 {
		return out, fmt.Errorf("%s has no endpoints: name one", s.Backend.Ref())
	}
	return out, nil
}
