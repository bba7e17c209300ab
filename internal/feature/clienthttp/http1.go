package clienthttp

import (
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	casev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// HTTP1 is the feature of the field http1.
type HTTP1 struct{}

var (
	_ feature.Checker         = HTTP1{}
	_ feature.ListenerApplier = HTTP1{}
	_ feature.ListenerChecker = HTTP1{}
)

// Name returns the name of the policy's field.
func (HTTP1) Name() string { return model.KindClientTrafficPolicy + ".http1" }

// Check refuses what no upgrade can be compared with.
func (HTTP1) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	for i, m := range a.Spec.(*egv1a1.HTTP1Settings).IgnoredUpgradeTypes {
		refused.Match(fmt.Sprintf(".ignoredUpgradeTypes[%d]", i), m)
	}
	return refused
}

// CheckListener refuses a default host where there is none to take: that of a route would be in the listener, which
// would change with the routes and lose its connections.
func (HTTP1) CheckListener(a model.Attached, l *model.Listener, hostnames []string) []feature.Problem {
	if !usesDefaultHost(a) || defaultHost(hostnames) != "" {
		return nil
	}
	return []feature.Problem{{
		Reason: string(gwv1.PolicyReasonInvalid), Path: ".http10.useDefaultHost",
		Message: fmt.Sprintf("Listener %s has no hostname that requests without one could be for: give it one that is not a "+
			"wildcard", l.Key.Name),
	}}
}

func usesDefaultHost(a model.Attached) bool {
	spec := a.Spec.(*egv1a1.HTTP1Settings)
	return spec.HTTP10 != nil && policy.Or(spec.HTTP10.UseDefaultHost, false)
}

// defaultHost is the first hostname that is not a wildcard, empty if all are.
func defaultHost(hostnames []string) string {
	i := slices.IndexFunc(hostnames, func(h string) bool { return !strings.HasPrefix(h, "*") })
	if i < 0 {
		return ""
	}
	return hostnames[i]
}

// ApplyListener says how HTTP/1 is spoken.
func (HTTP1) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	spec := a.Spec.(*egv1a1.HTTP1Settings)
	options := &corev3.Http1ProtocolOptions{EnableTrailers: policy.Or(spec.EnableTrailers, false)}
	if policy.Or(spec.PreserveHeaderCase, false) {
		options.HeaderKeyFormat = preserveCase()
	}
	if spec.HTTP10 != nil {
		options.AcceptHttp_10 = true
	}
	if usesDefaultHost(a) {
		options.DefaultHostForHttp_10 = defaultHost(l.Hostnames)
	}
	for _, m := range spec.IgnoredUpgradeTypes {
		options.IgnoreHttp_11Upgrade = append(options.IgnoreHttp_11Upgrade, policy.Matcher(m))
	}
	l.Manager.HttpProtocolOptions = options
	if policy.Or(spec.DisableSafeMaxConnectionDuration, false) {
		l.Manager.Http1SafeMaxConnectionDuration = false
	}
}

func preserveCase() *corev3.Http1ProtocolOptions_HeaderKeyFormat {
	return &corev3.Http1ProtocolOptions_HeaderKeyFormat{
		HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
			StatefulFormatter: &corev3.TypedExtensionConfig{
				Name:        "envoy.http.stateful_header_formatters.preserve_case",
				TypedConfig: feature.Pack(&casev3.PreserveCaseFormatterConfig{}),
			},
		},
	}
}
