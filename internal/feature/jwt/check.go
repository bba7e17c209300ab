package jwt

import (
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/jwks"
	"github.com/sluice-gateway/sluice/internal/model"
)

// checker collects what is wrong with the providers.
type checker struct {
	problems []feature.Problem
	path     string
}

func (c *checker) refuse(path, format string, args ...any) {
	c.problems = append(c.problems, feature.Problem{
		Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: c.path + path,
	})
}

// Check refuses providers without keys, and claims in headers that cannot be trusted.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.JWT)
	c := &checker{}
	if len(spec.Providers) == 0 {
		c.refuse(".providers", "There are no providers: name one, or remove jwt")
	}
	seen := map[string]bool{}
	for i, from := range sources(a) {
		p := &spec.Providers[i]
		c.path = fmt.Sprintf(".providers[%d]", i)
		if seen[p.Name] {
			c.refuse(".name", "Another provider is named %q: rename one", p.Name)
		}
		seen[p.Name] = true
		c.keys(p, from)
		c.claims(spec, p)
		c.extractor(p.ExtractFrom)
	}
	return c.problems
}

// keys checks where the keys of a provider are.
func (c *checker) keys(p *egv1a1.JWTProvider, from source) {
	switch {
	case p.RemoteJWKS != nil && p.LocalJWKS != nil:
		c.refuse("", "The provider %q has both localJWKS and remoteJWKS: remove one", p.Name)
	case p.RemoteJWKS != nil:
		c.remote(p.RemoteJWKS)
	case p.LocalJWKS == nil:
		c.refuse("", "The provider %q has no keys: add localJWKS or remoteJWKS", p.Name)
	case !from.has && byReference(p.LocalJWKS):
		c.refuse(".localJWKS.valueRef", "It leads to no keys: name a ConfigMap that has them under jwks")
	case !from.has:
		c.refuse(".localJWKS.inline", "There are no keys: put a JSON Web Key Set there, or set type to ValueRef")
	default:
		if err := jwks.Check(from.keys); err != nil {
			c.refuse(".localJWKS", "This is no usable JSON Web Key Set (RFC 7517): %v", err)
		}
	}
}

func (c *checker) remote(spec *egv1a1.RemoteJWKS) {
	const path = ".remoteJWKS"
	if _, ok := model.Server(spec.URI); !ok {
		c.refuse(path+".uri", "The address %q is no URL of an HTTP server: write it like https://issuer.example/keys",
			spec.URI)
	}
	var refused policy.Refusals
	refused.Backends(path, &spec.BackendCluster)
	for _, problem := range refused {
		c.refuse(problem.Path, "%s", problem.Message)
	}
	if spec.FailedRefetchDuration != nil {
		c.refuse(path+".failedRefetchDuration", "Sluice fetches keys again after pauses of its own, and Envoy when a "+
			"request needs them, so there is no time to wait after a failure: remove it")
	}
	c.positive(path+".cacheDuration", spec.CacheDuration)
}

// positive checks a duration that may be left out.
func (c *checker) positive(path string, d *gwv1.Duration) {
	if d == nil {
		return
	}
	if parsed, err := duration.Parse(*d); err != nil || parsed <= 0 {
		c.refuse(path, "The duration %q is not above zero: write it like 5m", *d)
	}
}

// claims checks the headers that claims become. One that a token is read from would be removed before.
func (c *checker) claims(spec *egv1a1.JWT, p *egv1a1.JWTProvider) {
	for i, claim := range p.ClaimToHeaders {
		path := fmt.Sprintf(".claimToHeaders[%d]", i)
		if err := header.CheckMutable(claim.Header); err != nil {
			c.refuse(path+".header", "Invalid header: %v", err)
		} else if readsToken(spec, claim.Header) {
			c.refuse(path+".header", "A token is read from the header %s: choose another for the claim", claim.Header)
		}
		if claim.Claim == "" || slices.Contains(strings.Split(claim.Claim, "."), "") {
			c.refuse(path+".claim", "The claim %q has an empty name: write it like sub, or like address.country", claim.Claim)
		}
	}
}

// readsToken reports whether a provider finds tokens in a header.
func readsToken(spec *egv1a1.JWT, name string) bool {
	for i := range spec.Providers {
		from := spec.Providers[i].ExtractFrom
		if from == nil || len(from.Headers)+len(from.Params)+len(from.Cookies) == 0 {
			if strings.EqualFold(name, "authorization") {
				return true
			}
			continue
		}
		if slices.ContainsFunc(from.Headers, func(h egv1a1.JWTHeaderExtractor) bool {
			return strings.EqualFold(h.Name, name)
		}) || len(from.Cookies) > 0 && strings.EqualFold(name, "cookie") {
			return true
		}
	}
	return false
}

func (c *checker) extractor(from *egv1a1.JWTExtractor) {
	if from == nil {
		return
	}
	for i, h := range from.Headers {
		if err := header.CheckName(h.Name); err != nil {
			c.refuse(fmt.Sprintf(".extractFrom.headers[%d].name", i), "Invalid header: %v", err)
		}
	}
	if slices.Contains(from.Params, "") || slices.Contains(from.Cookies, "") {
		c.refuse(".extractFrom", "A name is empty: remove it, or write the name of the parameter or cookie")
	}
}
