package authorization

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// checker collects what is wrong with the rules.
type checker struct {
	problems []feature.Problem
	path     string
	// providers are the names of the JWT providers of the policy.
	providers []string
}

func (c *checker) refuse(path, format string, args ...any) {
	c.problems = append(c.problems, feature.Problem{
		Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: c.path + path,
	})
}

// Check refuses rules that Envoy cannot decide by, and those that never or always match.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.Authorization)
	c := &checker{providers: providers(rule)}
	if spec.DefaultAction != nil {
		c.action(".defaultAction", *spec.DefaultAction)
	}
	for i := range spec.Rules {
		c.path = fmt.Sprintf(".rules[%d]", i)
		c.rule(&spec.Rules[i])
	}
	return c.problems
}

// providers returns the JWT providers of the policy that a rule has.
func providers(rule *model.Rule) []string {
	var out []string
	for _, a := range rule.Attached {
		if spec, ok := a.Spec.(*egv1a1.JWT); ok {
			for i := range spec.Providers {
				out = append(out, spec.Providers[i].Name)
			}
		}
	}
	return out
}

func (c *checker) action(path string, do egv1a1.AuthorizationAction) {
	if do != egv1a1.AuthorizationActionAllow && do != egv1a1.AuthorizationActionDeny {
		c.refuse(path, "The action %q is not known: use Allow or Deny", do)
	}
}

func (c *checker) rule(rule *egv1a1.AuthorizationRule) {
	c.action(".action", rule.Action)
	before := len(c.problems)
	if op := rule.Operation; op != nil && op.Path != nil {
		c.pathMatch(op.Path)
	}
	if rule.Principal != nil {
		c.principal(rule.Principal)
	}
	if rule.CEL != nil {
		if _, err := parse(string(*rule.CEL)); err != nil {
			c.refuse(".cel", "The expression is not valid: %v. Its names are those of Envoy's attributes: %s",
				err, strings.Join(attributes, ", "))
		}
	}
	if len(c.problems) == before && len(conditions(rule)) == 0 {
		c.refuse("", "The rule is for every request: say who or what it is for, or use defaultAction")
	}
}

func (c *checker) pathMatch(spec *egv1a1.PathMatch) {
	switch kind := pathType(spec); kind {
	case gwv1.PathMatchRegularExpression:
		if _, err := regexp.Compile(spec.Value); err != nil {
			c.refuse(".operation.path.value", "The regular expression %q is not valid: %v", spec.Value, err)
		}
	case gwv1.PathMatchExact, gwv1.PathMatchPathPrefix:
		if !strings.HasPrefix(spec.Value, "/") {
			c.refuse(".operation.path.value", "The path %q does not begin with a slash: add one", spec.Value)
		}
	default:
		c.refuse(".operation.path.type", "The type %q is not known: use Exact, PathPrefix or RegularExpression", kind)
	}
}

func (c *checker) principal(who *egv1a1.Principal) {
	if _, err := ranges(who.ClientCIDRs); err != nil {
		c.refuse(".principal.clientCIDRs", "Invalid CIDR: %v", err)
	}
	for i := range who.ClientIPGeoLocations {
		if len(facts(&who.ClientIPGeoLocations[i])) == 0 {
			c.refuse(fmt.Sprintf(".principal.clientIPGeoLocations[%d]", i), "Nothing says where that is: set country, region, "+
				"city, asn, isp or anonymous")
		}
	}
	for i, h := range who.Headers {
		path := fmt.Sprintf(".principal.headers[%d]", i)
		if err := header.CheckName(h.Name); err != nil {
			c.refuse(path+".name", "Invalid header: %v", err)
		}
		if len(h.Values) == 0 {
			c.refuse(path+".values", "There are no values for the header %s: name those that match", h.Name)
		}
	}
	if who.JWT != nil {
		c.token(who.JWT)
	}
}

func (c *checker) token(who *egv1a1.JWTPrincipal) {
	const path = ".principal.jwt"
	if !slices.Contains(c.providers, who.Provider) {
		c.refuse(path+".provider", "No JWT provider %q can be used: this policy needs it in its own jwt.providers",
			who.Provider)
	}
	if len(who.Claims)+len(who.Scopes) == 0 {
		c.refuse(path, "There are neither claims nor scopes: name those that match")
	}
	for i, claim := range who.Claims {
		path := fmt.Sprintf("%s.claims[%d]", path, i)
		if slices.Contains(strings.Split(claim.Name, "."), "") {
			c.refuse(path+".name", "The claim %q has an empty name: write it like sub, or like address.country", claim.Name)
		}
		if len(claim.Values) == 0 {
			c.refuse(path+".values", "There are no values for the claim %s: name those that match", claim.Name)
		}
		if t := claim.ValueType; t != nil && *t != egv1a1.JWTClaimValueTypeString &&
			*t != egv1a1.JWTClaimValueTypeStringArray {
			c.refuse(path+".valueType", "The type %q is not known: use String or StringArray", *t)
		}
	}
}
