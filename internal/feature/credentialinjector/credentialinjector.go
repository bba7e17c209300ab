// Package credentialinjector is the field credentialInjection of an HTTPRouteFilter: give requests to a backend a
// credential that clients do not have (Envoy Gateway: HTTPCredentialInjectionFilter).
//
// It becomes a filter envoy.filters.http.credential_injector with a generic credential, which Envoy gets by SDS. There
// is one for each header: the filter of a backend replaces that of its rule only if both are for the same header.
package credentialinjector

import (
	"bytes"
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field credentialInjection of an HTTPRouteFilter.
type Feature struct{}

var (
	_ feature.Referrer   = Feature{}
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
)

const (
	// filter is the name of the filter in Envoy, before that of its header.
	filter = "envoy.filters.http.credential_injector"
	// defaultHeader is the header unless one is set.
	defaultHeader = "authorization"
	// largest is the largest credential in bytes: Envoy takes 60 KiB of headers in all.
	largest = 16 << 10
)

// Name returns the name of the field.
func (Feature) Name() string { return "HTTPRouteFilter.credentialInjection" }

// References returns the Secret that holds the credential.
func (Feature) References(a model.Attached) []resolve.Reference {
	ref := a.Spec.(*egv1a1.HTTPCredentialInjectionFilter).Credential.ValueRef
	object := &resolve.ObjectReference{Name: string(ref.Name)}
	if ref.Group != nil {
		object.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		object.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		object.Namespace = string(*ref.Namespace)
	}
	return []resolve.Reference{{Path: a.Path + ".credential.valueRef", Object: object}}
}

// Check refuses headers that Envoy manages, what cannot be the value of a header, and a second credential for a header
// in the same rule or backend. No message quotes the credential.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.HTTPCredentialInjectionFilter)
	var problems []feature.Problem
	refuse := func(reason, path, format string, args ...any) {
		problems = append(problems, feature.Problem{Reason: reason, Message: fmt.Sprintf(format, args...), Path: path})
	}
	const unsupported = "UnsupportedValue"
	if name := headerOf(spec); header.IsHost(name) {
		refuse(unsupported, ".header", "A credential cannot be the host of a request: name another header")
	} else if err := header.CheckMutable(name); err != nil {
		refuse(unsupported, ".header", "Invalid header: %v", err)
	}
	secret := a.Objects[0]
	value, found := secret.Data[egv1a1.InjectedCredentialKey]
	control := func(r rune) bool { return r != '\t' && (r < ' ' || r == 0x7f) }
	switch {
	case !found || len(value) == 0:
		refuse(unsupported, ".credential.valueRef", "%s has nothing under the key %s: put the value of the header there",
			secret.Ref, egv1a1.InjectedCredentialKey)
	case len(value) > largest:
		refuse(unsupported, ".credential.valueRef", "The credential in %s is %d bytes long: shorten it to %d",
			secret.Ref, len(value), largest)
	case bytes.ContainsFunc(value, control):
		refuse(unsupported, ".credential.valueRef",
			"The credential in %s has control characters, maybe a line break at its end: remove them", secret.Ref)
	}
	for _, other := range feature.Beside(a, rule) {
		if theirs, ok := other.Spec.(*egv1a1.HTTPCredentialInjectionFilter); ok && !feature.Same(a, other) &&
			headerOf(theirs) == headerOf(spec) {
			refuse("IncompatibleFilters", ".header", "Another filter injects a credential into the header %s: keep one of them",
				headerOf(spec))
		}
	}
	return problems
}

// HTTPFilters adds the filter that injects the credential. Without a credential it answers requests with 401.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.HTTPCredentialInjectionFilter)
	name := headerOf(spec)
	s.Add(filter+"/"+name, &injectorv3.CredentialInjector{
		Overwrite: spec.Overwrite != nil && *spec.Overwrite,
		Credential: &corev3.TypedExtensionConfig{
			Name: "envoy.http.injected_credentials.generic",
			TypedConfig: feature.Pack(&genericv3.Generic{
				Credential: s.Secret(a.Objects[0].Ref.Name, egv1a1.InjectedCredentialKey), Header: name,
			}),
		},
	})
}

func headerOf(spec *egv1a1.HTTPCredentialInjectionFilter) string {
	if spec.Header == nil || *spec.Header == "" {
		return defaultHeader
	}
	return strings.ToLower(*spec.Header)
}
