package ratelimit

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	count "github.com/sluice-gateway/sluice/internal/ratelimit"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// checker collects what is wrong.
type checker struct{ problems []feature.Problem }

func (c *checker) refuse(path, format string, args ...any) {
	c.problems = append(c.problems, feature.Problem{
		Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
	})
}

// rule checks one rule, unless it is another policy's: that is told of its own mistakes.
func (c *checker) rule(r rule, list string) {
	if !r.own {
		return
	}
	path := r.path(list)
	if _, err := count.ParseUnit(string(r.spec.Limit.Unit)); err != nil {
		c.refuse(path+".limit.unit", "%v", err)
	}
	if m := r.spec.Limit.FromMetadata; m != nil && (m.Namespace == "" || m.Key == "") {
		c.refuse(path+".limit.fromMetadata", "The namespace and the key of the metadata are both needed")
	}
	if cost := r.spec.Cost; cost != nil {
		c.cost(cost.Request, path+".cost.request")
		c.cost(cost.Response, path+".cost.response")
	}
	for i := range r.spec.ClientSelectors {
		c.selector(&r.spec.ClientSelectors[i], fmt.Sprintf("%s.clientSelectors[%d]", path, i))
	}
}

// metadataName is what can be named in a format string of Envoy without being anything else than a name.
var metadataName = regexp.MustCompile(`^[-A-Za-z0-9_./]+$`)

func (c *checker) cost(cost *egv1a1.RateLimitCostSpecifier, path string) {
	if cost == nil {
		return
	}
	switch {
	case cost.From == egv1a1.RateLimitCostFromMetadata && cost.Metadata == nil:
		c.refuse(path+".metadata", "The cost is taken from metadata: say from which")
	case cost.Metadata != nil:
		for _, name := range []string{cost.Metadata.Namespace, cost.Metadata.Key} {
			if !metadataName.MatchString(name) {
				c.refuse(path+".metadata", "%q cannot be named in Envoy's formats: use letters, digits and . - _ /", name)
			}
		}
	case cost.Number != nil && *cost.Number > count.MaxCost:
		c.refuse(path+".number", "A cost of %d is more than Envoy allows: use %d at most", *cost.Number, count.MaxCost)
	}
}

func (c *checker) selector(s *egv1a1.RateLimitSelectCondition, path string) {
	if len(s.Headers) == 0 && len(s.Methods) == 0 && s.Path == nil && s.SourceCIDR == nil && len(s.QueryParams) == 0 {
		c.refuse(path, "The selector is empty: name headers, methods, a path, a sourceCIDR or queryParams")
	}
	for i := range s.Headers {
		at := fmt.Sprintf("%s.headers[%d]", path, i)
		if err := header.CheckName(s.Headers[i].Name); err != nil {
			c.refuse(at+".name", "Invalid header: %v", err)
		}
		c.value(headerMatch(&s.Headers[i]), at)
	}
	for i := range s.QueryParams {
		c.value(queryMatch(&s.QueryParams[i]), fmt.Sprintf("%s.queryParams[%d]", path, i))
	}
	if s.Path != nil && pathType(s.Path) == gwv1.PathMatchRegularExpression {
		if err := resolve.CheckRegex(s.Path.Value); err != nil {
			c.refuse(path+".path.value", "%v", err)
		}
	}
	if s.SourceCIDR != nil {
		if _, err := netip.ParsePrefix(s.SourceCIDR.Value); err != nil {
			c.refuse(path+".sourceCIDR.value",
				"%q is no range of addresses: write it like 192.0.2.0/24 or 2001:db8::/32", s.SourceCIDR.Value)
		}
	}
}

// value checks what a header or a query parameter is compared with.
func (c *checker) value(m match, path string) {
	switch {
	case m.kind == distinct && (m.value != nil || m.invert):
		c.refuse(path, "Distinct stands for any value: remove value and invert")
	case m.kind == distinct:
	case m.value == nil:
		c.refuse(path+".value", "The value is missing: write it, or use the type Distinct for any value")
	case m.kind == regular:
		if err := resolve.CheckRegex(*m.value); err != nil {
			c.refuse(path+".value", "%v", err)
		}
	case m.kind != exact:
		c.refuse(path+".type", "The type %q is not supported: use Exact, RegularExpression or Distinct", m.kind)
	}
}

func sameRules(a, b []egv1a1.RateLimitRule) bool { return reflect.DeepEqual(a, b) }
