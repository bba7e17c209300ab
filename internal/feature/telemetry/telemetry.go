// Package telemetry is the field telemetry of a BackendTrafficPolicy: how the requests of routes are traced and
// counted, where that differs from what holds for the Gateway.
//
// tracing is the tracing of the route, which takes the place of all that the listener's tracing says of the same
// things: samplingFraction is random_sampling and overallSamplingFraction overall_sampling, both all requests if they
// are left out; clientSamplingFraction is client_sampling, none if it is left out. tags and customTags are custom_tags,
// spanName operation and upstream_operation. A listener that reports no spans reports none for these routes either.
//
// tags and spanName may have the command operators of package format. Tags of type Environment would show the
// environment of the proxy to whoever writes policies of routes: they are refused.
//
// metrics.routeStatName is the stat_prefix of the route: with it Envoy counts the requests of the route by that name.
// Its operators %ROUTE_NAME%, %ROUTE_NAMESPACE%, %ROUTE_KIND% and %ROUTE_RULE_NAME% are replaced here, the last by "-"
// for a rule without a name.
package telemetry

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/format"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field telemetry.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

// hundred is the denominator of fractions without one.
const hundred = 100

// operator is one of a name of stats, and statOperators are those that there are.
var (
	operator      = regexp.MustCompile(`%[^%]*%?`)
	statOperators = []string{
		egv1a1.StatFormatterRouteName, egv1a1.StatFormatterRouteNamespace, egv1a1.StatFormatterRouteKind,
		egv1a1.StatFormatterRouteRuleName,
	}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.telemetry" }

// Check refuses fractions above one, tags that show too much, and operators that there are not.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.BackendTelemetry)
	var refused policy.Refusals
	if spec.Tracing != nil {
		checkTracing(&refused, spec.Tracing)
	}
	if spec.Metrics != nil {
		for _, found := range operator.FindAllString(policy.Or(spec.Metrics.RouteStatName, ""), -1) {
			if !slices.Contains(statOperators, found) {
				refused.Add(".metrics.routeStatName", "There is no operator %q: use %s", found, strings.Join(statOperators, ", "))
			}
		}
	}
	return refused
}

func checkTracing(refused *policy.Refusals, spec *egv1a1.Tracing) {
	fraction := func(path string, f *gwv1.Fraction) {
		if f == nil {
			return
		}
		if d := policy.Or(f.Denominator, hundred); d < 1 || f.Numerator < 0 || f.Numerator > d {
			refused.Add(path, "The fraction %d/%d is no part of all requests: use 0/%d to %d/%d", f.Numerator, d, max(d, 1),
				max(d, 1), max(d, 1))
		}
	}
	fraction(".tracing.samplingFraction", spec.SamplingFraction)
	fraction(".tracing.clientSamplingFraction", spec.ClientSamplingFraction)
	fraction(".tracing.overallSamplingFraction", spec.OverallSamplingFraction)
	text := func(path, value string) {
		if _, _, err := format.Text(value); err != nil {
			refused.Add(path, "The value shows too much: %v", err)
		}
	}
	named := func(path, name string) {
		if name == "" {
			refused.Add(path, "A tag has no name: give it one")
		}
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	custom := spec.CustomTags
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		named(".tracing.customTags", name)
		if problem := checkTag(custom[name]); problem != "" {
			refused.Add(fmt.Sprintf(".tracing.customTags[%s]", name), "%s", problem)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Tags)) {
		named(".tracing.tags", name)
		text(fmt.Sprintf(".tracing.tags[%s]", name), spec.Tags[name])
	}
	if spec.SpanName != nil {
		text(".tracing.spanName.client", spec.SpanName.Client)
		text(".tracing.spanName.server", spec.SpanName.Server)
	}
}

func checkTag(tag egv1a1.CustomTag) string {
	switch tag.Type {
	case egv1a1.CustomTagTypeLiteral:
		if tag.Literal == nil {
			return "The type Literal needs literal: add it"
		}
		if tag.Literal.Value == "" {
			return "The value is empty: Envoy takes no such tag"
		}
	case egv1a1.CustomTagTypeRequestHeader:
		if tag.RequestHeader == nil {
			return "The type RequestHeader needs requestHeader: add it"
		}
		if err := header.CheckName(tag.RequestHeader.Name); err != nil {
			return fmt.Sprintf("Invalid header: %v", err)
		}
	case egv1a1.CustomTagTypeEnvironment:
		return "Whoever writes policies of routes is not shown the environment of the proxy: use the type Literal"
	default:
		return fmt.Sprintf("There is no type %q: use Literal or RequestHeader", tag.Type)
	}
	return ""
}

// ApplyRoute sets how the route is traced and counted.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*egv1a1.BackendTelemetry)
	if t := spec.Tracing; t != nil {
		r.Proto.Tracing = &routev3.Tracing{
			ClientSampling: share(t.ClientSamplingFraction), RandomSampling: share(t.SamplingFraction),
			OverallSampling: share(t.OverallSamplingFraction), CustomTags: tags(t),
		}
		if t.ClientSamplingFraction == nil {
			r.Proto.Tracing.ClientSampling = policy.Share(0)
		}
		if t.SpanName != nil {
			r.Proto.Tracing.Operation = formatted(t.SpanName.Client)
			r.Proto.Tracing.UpstreamOperation = formatted(t.SpanName.Server)
		}
	}
	if spec.Metrics != nil {
		r.Proto.StatPrefix = statName(r, policy.Or(spec.Metrics.RouteStatName, ""))
	}
}

func share(f *gwv1.Fraction) *typev3.FractionalPercent {
	if f == nil {
		return nil
	}
	return policy.Share(float64(f.Numerator) / float64(policy.Or(f.Denominator, hundred)))
}

// formatted returns a text as Envoy's formatter has to see it.
func formatted(text string) string {
	out, dynamic, err := format.Text(text)
	if err != nil || !dynamic {
		return header.Literal(out) // an error has been refused by Check
	}
	return out
}

// tags returns the tags sorted by name. Of two with one name that of tags is taken.
func tags(spec *egv1a1.Tracing) []*tagv3.CustomTag {
	all := map[string]*tagv3.CustomTag{}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	for name, from := range spec.CustomTags {
		tag := &tagv3.CustomTag{Tag: name}
		if from.Type == egv1a1.CustomTagTypeLiteral {
			tag.Type = &tagv3.CustomTag_Literal_{Literal: &tagv3.CustomTag_Literal{Value: from.Literal.Value}}
		} else {
			tag.Type = &tagv3.CustomTag_RequestHeader{RequestHeader: &tagv3.CustomTag_Header{
				Name: from.RequestHeader.Name, DefaultValue: policy.Or(from.RequestHeader.DefaultValue, ""),
			}}
		}
		all[name] = tag
	}
	for name, value := range spec.Tags {
		all[name] = &tagv3.CustomTag{Tag: name, Type: &tagv3.CustomTag_Value{Value: formatted(value)}}
	}
	var out []*tagv3.CustomTag
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// statName returns a name of stats with its operators replaced.
func statName(r *feature.Route, name string) string {
	rule := r.Rule.Name
	if rule == "" {
		rule = "-"
	}
	return strings.NewReplacer(
		egv1a1.StatFormatterRouteName, r.Key.Name.Name, egv1a1.StatFormatterRouteNamespace, r.Key.Namespace,
		egv1a1.StatFormatterRouteKind, r.Key.Kind, egv1a1.StatFormatterRouteRuleName, rule,
	).Replace(name)
}
