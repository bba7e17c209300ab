// Package apikeyauth is SecurityPolicy.apiKeyAuth: let in who brings one of a list of keys.
//
// It is Envoy's api_key_auth. Each key of each Secret in credentialRefs is a client with its API key (credentials),
// extractFrom becomes key_sources, of which the first that has a key counts, forwardClientIDHeader and sanitize become
// forwarding. The header replaces what a client brings under that name.
//
// Of two Secrets with the same client the first counts. Two clients with the same key are refused, because nobody could
// say which of them a request is from; Envoy refuses them too.
package apikeyauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of SecurityPolicy.apiKeyAuth.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

const filter = "envoy.filters.http.api_key_auth"

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".apiKeyAuth" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the Secrets with the keys.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	for i, ref := range a.Spec.(*egv1a1.APIKeyAuth).CredentialRefs {
		out = append(out, resolve.Reference{
			Path: fmt.Sprintf("%s.credentialRefs[%d]", a.Path, i), Object: resolve.SecretReference(ref),
		})
	}
	return out
}

// Check refuses Secrets without usable keys, and places that have none to read or to write.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.APIKeyAuth)
	problems := checkSources(spec.ExtractFrom)
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
		})
	}
	if name := spec.ForwardClientIDHeader; name != nil {
		if err := header.CheckMutable(*name); err != nil {
			refuse(".forwardClientIDHeader", "Invalid header: %v", err)
		}
	}
	for i, secret := range a.Objects {
		if secret.Ref.Kind != model.KindSecret {
			refuse(fmt.Sprintf(".credentialRefs[%d]", i), "%s is not a Secret: API keys are read from Secrets only",
				secret.Ref)
			return problems
		}
	}
	if _, err := credentials(a.Objects); err != nil {
		refuse(".credentialRefs", "Unusable API keys: %v", err)
	}
	return problems
}

func checkSources(list []*egv1a1.ExtractFrom) []feature.Problem {
	var problems []feature.Problem
	refuse := func(path, message string) {
		problems = append(problems, feature.Problem{Reason: "UnsupportedValue", Message: message, Path: path})
	}
	if len(sources(list)) == 0 {
		refuse(".extractFrom", "No place is named where requests have their key: name a header, a parameter or a cookie")
	}
	for i, from := range list {
		path := fmt.Sprintf(".extractFrom[%d]", i)
		if from == nil {
			continue
		}
		for j, name := range from.Headers {
			if err := header.CheckName(name); err != nil {
				refuse(fmt.Sprintf("%s.headers[%d]", path, j), fmt.Sprintf("Invalid header: %v", err))
			}
		}
		if slices.Contains(from.Params, "") || slices.Contains(from.Cookies, "") {
			refuse(path, "A name is empty: remove it, or write the name of the parameter or cookie")
		}
	}
	return problems
}

// HTTPFilters adds the filter that asks for a key.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.APIKeyAuth)
	list, _ := credentials(a.Objects) // refused by Check
	config := &apikeyauthv3.ApiKeyAuth{Credentials: list, KeySources: sources(spec.ExtractFrom)}
	if spec.ForwardClientIDHeader != nil || spec.Sanitize != nil {
		config.Forwarding = &apikeyauthv3.Forwarding{}
	}
	if spec.ForwardClientIDHeader != nil {
		config.Forwarding.Header = *spec.ForwardClientIDHeader
	}
	if spec.Sanitize != nil {
		config.Forwarding.HideCredentials = *spec.Sanitize
	}
	s.Add(filter, config)
}

// credentials returns the keys of Secrets, those of one in the order of their clients.
func credentials(secrets []model.Object) ([]*apikeyauthv3.Credential, error) {
	var out []*apikeyauthv3.Credential
	clients, owner := map[string]bool{}, map[string]string{}
	for _, secret := range secrets {
		for _, client := range slices.Sorted(maps.Keys(secret.Data)) {
			if clients[client] {
				continue
			}
			clients[client] = true
			// A file that a Secret is made of ends with a newline, which no header can have.
			key := strings.TrimRight(string(secret.Data[client]), "\r\n")
			if err := header.CheckValue(key); err != nil || key == "" {
				return nil, fmt.Errorf("the key of client %s in %s is empty or has characters that no header can have: "+
					"replace it", client, secret.Ref)
			}
			if other, dup := owner[key]; dup {
				return nil, fmt.Errorf("the clients %s and %s have the same key: give one of them another", other, client)
			}
			owner[key] = client
			out = append(out, &apikeyauthv3.Credential{Client: client, Key: key})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there are no keys in what it refers to: add one, under the name of the client")
	}
	return out, nil
}

// sources returns where requests can have their key, in the order of the spec.
func sources(list []*egv1a1.ExtractFrom) []*apikeyauthv3.KeySource {
	var out []*apikeyauthv3.KeySource
	for _, from := range list {
		if from == nil {
			continue
		}
		for _, name := range from.Headers {
			out = append(out, &apikeyauthv3.KeySource{Header: name})
		}
		for _, name := range from.Params {
			out = append(out, &apikeyauthv3.KeySource{Query: name})
		}
		for _, name := range from.Cookies {
			out = append(out, &apikeyauthv3.KeySource{Cookie: name})
		}
	}
	return out
}
