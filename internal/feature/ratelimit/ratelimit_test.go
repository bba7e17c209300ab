package ratelimit

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	count "github.com/sluice-gateway/sluice/internal/ratelimit"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.RateLimitSpec](t, Feature{Service: &Service{}})
}

// field is the field of a policy with that name.
func field(t *testing.T, policy, text string) model.Attached {
	t.Helper()
	spec := &egv1a1.RateLimitSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return model.Attached{
		Feature: Feature{}.Name(), Spec: spec, Path: "spec.rateLimit",
		Source: model.Ref{Kind: model.KindBackendTrafficPolicy, Name: model.Name{Namespace: "shop", Name: policy}},
	}
}

func rules(list ...string) string { return "{rules: [" + strings.Join(list, ", ") + "]}" }

func TestCheck(t *testing.T) {
	const limit = "limit: {requests: 1, unit: Day}"
	selector := func(s string) string { return "global: " + rules("{"+limit+", clientSelectors: ["+s+"]}") }
	rule := func(kind, s string) string { return kind + ": " + rules("{"+limit+", "+s+"}") }
	two := "{" + limit + ", clientSelectors: [{headers: [{name: a, value: b}, {name: c, value: d}]}]}"
	const first, firstSelector = ".global.rules[0]", ".global.rules[0].clientSelectors[0]"
	for name, test := range map[string]struct{ spec, path, want string }{
		"fine":           {selector("{methods: [{value: GET}]}"), "", ""},
		"nothing":        {"{}", "", ""},
		"type":           {"type: Global", ".type", "there are no such limits"},
		"unit":           {"global: " + rules("{limit: {requests: 1, unit: Fortnight}}"), first + ".limit.unit", "no unit"},
		"empty selector": {selector("{}"), firstSelector, "selector is empty"},
		"header name": {
			selector(`{headers: [{name: "a b", value: x}]}`), firstSelector + ".headers[0].name", "Invalid header",
		},
		"no value": {selector("{headers: [{name: a}]}"), firstSelector + ".headers[0].value", "value is missing"},
		"distinct value": {
			selector("{headers: [{name: a, type: Distinct, value: x}]}"), firstSelector + ".headers[0]", "any value",
		},
		"distinct inverted": {
			selector("{queryParams: [{name: a, type: Distinct, invert: true}]}"),
			firstSelector + ".queryParams[0]", "any value",
		},
		"regex": {
			selector("{headers: [{name: a, type: RegularExpression, value: '('}]}"),
			firstSelector + ".headers[0].value", "RE2",
		},
		"path regex": {
			selector("{path: {type: RegularExpression, value: '('}}"), firstSelector + ".path.value", "RE2",
		},
		"query type": {
			selector("{queryParams: [{name: a, type: Prefix, value: x}]}"),
			firstSelector + ".queryParams[0].type", "not supported",
		},
		"address": {
			selector("{sourceCIDR: {value: 10.0.0.1}}"), firstSelector + ".sourceCIDR.value", "192.0.2.0/24",
		},
		"cost": {
			rule("global", "cost: {request: {from: Number, number: 1000000001}}"),
			first + ".cost.request.number", "1000000000",
		},
		"cost metadata": {
			rule("global", "cost: {response: {from: Metadata}}"), first + ".cost.response.metadata", "from which",
		},
		"cost format": {
			rule("global", `cost: {response: {from: Metadata, metadata: {namespace: "a:b)%REQ(x", key: k}}}`),
			first + ".cost.response.metadata", "cannot be named",
		},
		"limit metadata": {
			"global: " + rules("{limit: {requests: 1, unit: Day, fromMetadata: {namespace: n}}}"),
			first + ".limit.fromMetadata", "both needed",
		},
		"local response": {
			rule("local", "cost: {response: {from: Number, number: 1}}"),
			".local.rules[0].cost.response", "use a global limit",
		},
		"local metadata": {
			"local: " + rules("{limit: {requests: 1, unit: Day, fromMetadata: {namespace: n, key: k}}}"),
			".local.rules[0].limit.fromMetadata", "use a global limit",
		},
		"too many ways": {
			"local: " + rules("{"+limit+"}", two, two, two, two, two, two, two), ".local.rules", "fewer conditions",
		},
	} {
		t.Run(name, func(t *testing.T) {
			problems := Feature{Service: &Service{}}.Check(field(t, "p", test.spec), &model.Rule{})
			if test.want == "" {
				if len(problems) > 0 {
					t.Errorf("refused: %v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Path != test.path || !strings.Contains(problems[0].Message, test.want) {
				t.Errorf("got %v, want one at %s with %q", problems, test.path, test.want)
			}
		})
	}
}

func TestGlobalLimitsNeedTheService(t *testing.T) {
	limit := rules("{limit: {requests: 1, unit: Day}}")
	got := Feature{}.Check(field(t, "p", "global: "+limit), &model.Rule{})
	if len(got) != 1 || got[0].Path != ".global" {
		t.Errorf("a global limit without the service: %v", got)
	}
	if got := (Feature{}.Check(field(t, "p", "local: "+limit), &model.Rule{})); len(got) != 0 {
		t.Errorf("a local limit without the service: %v", got)
	}
}

// names returns the rules of the global filter for a, in order: rule and limit.
func names(t *testing.T, a model.Attached) []string {
	t.Helper()
	s := &feature.Scope{}
	Feature{Service: &Service{}}.HTTPFilters(s, a)
	var out []string
	for _, f := range s.Filters {
		config := &filterv3.RateLimit{}
		if f.GetTypedConfig().UnmarshalTo(config) != nil {
			continue
		}
		for _, l := range config.GetRateLimits() {
			out = append(out, l.GetActions()[0].GetGenericKey().GetDescriptorValue()+" "+
				l.GetActions()[1].GetGenericKey().GetDescriptorValue())
		}
	}
	return out
}

// TestMerge has the rules of two policies under the names of the policies that they were written in.
func TestMerge(t *testing.T) {
	day, hour := rules("{limit: {requests: 1, unit: Day}}"), rules("{limit: {requests: 2, unit: Hour}}")
	both := func(own, merged, under string, strategic bool) model.Attached {
		a := field(t, "own", merged)
		below := field(t, "parent", under)
		a.Under = &model.Under{Spec: below.Spec, Source: below.Source, Strategic: strategic}
		if own == "" {
			a.Source = below.Source
		}
		return a
	}
	for name, test := range map[string]struct {
		a    model.Attached
		want []string
	}{
		"alone":     {field(t, "own", "global: "+day), []string{"shop/own/0 1/Day"}},
		"strategic": {both("x", "global: "+day, "global: "+hour, true), []string{"shop/parent/0 2/Hour", "shop/own/0 1/Day"}},
		"json":      {both("x", "global: "+day, "global: "+hour, false), []string{"shop/own/0 1/Day"}},
		"parent's": {
			both("x", "{local: "+day+", global: "+hour+"}", "global: "+hour, true), []string{"shop/parent/0 2/Hour"},
		},
		"own": {both("x", "{local: "+day+", global: "+hour+"}", "local: "+day, true), []string{"shop/own/0 2/Hour"}},
	} {
		if diff := cmp.Diff(test.want, names(t, test.a)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestOthersMistakes are not told of twice: the policy that has them says so itself.
func TestOthersMistakes(t *testing.T) {
	a := field(t, "own", "global: "+rules("{limit: {requests: 1, unit: Day}}"))
	bad := field(t, "parent", "global: "+rules("{limit: {requests: 1, unit: Day}, clientSelectors: [{}]}"))
	a.Under = &model.Under{Spec: bad.Spec, Source: bad.Source, Strategic: true}
	if got := (Feature{Service: &Service{}}).Check(a, &model.Rule{}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestMethods(t *testing.T) {
	get := egv1a1.MethodMatch{Value: "GET"}
	notGet := egv1a1.MethodMatch{Value: "GET", Invert: new(true)}
	notPost := egv1a1.MethodMatch{Value: "POST", Invert: new(true)}
	for name, methods := range map[string][]egv1a1.MethodMatch{
		"none": nil, "all but two": {notGet, notPost}, "one, and all but it": {get, notGet},
	} {
		if _, ok := methodCondition(methods); ok {
			t.Errorf("%s: a condition, though all requests meet it", name)
		}
	}
	for name, test := range map[string]struct {
		methods []egv1a1.MethodMatch
		expect  bool
		regex   string
		exact   string
	}{
		"one":                 {methods: []egv1a1.MethodMatch{get}, expect: true, exact: "GET"},
		"two":                 {methods: []egv1a1.MethodMatch{get, {Value: "X+"}}, expect: true, regex: `GET|X\+`},
		"all but one":         {methods: []egv1a1.MethodMatch{notGet}, exact: "GET"},
		"all but one, or one": {methods: []egv1a1.MethodMatch{notPost, get}, exact: "POST"},
	} {
		c, ok := methodCondition(test.methods)
		if !ok {
			t.Errorf("%s: no condition", name)
			continue
		}
		got := c.holds("k").GetHeaderValueMatch()
		text := got.GetHeaders()[0].GetStringMatch()
		if got.GetExpectMatch().GetValue() != test.expect || text.GetExact() != test.exact ||
			text.GetSafeRegex().GetRegex() != test.regex || got.GetHeaders()[0].GetName() != ":method" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPathsWithQuery has a query be no way around a limit on a path.
func TestPathsWithQuery(t *testing.T) {
	for _, test := range []struct {
		kind, value, want string
	}{
		{"Exact", "/a.b", `/a\.b(\?.*)?`},
		{"PathPrefix", "/a/", `/a([/?].*)?`},
		{"RegularExpression", "/a|/b", `(/a|/b)(\?.*)?`},
	} {
		p := &egv1a1.PathMatch{Type: new(gwv1.PathMatchType(test.kind)), Value: test.value}
		got := pathCondition(p).holds("k").GetHeaderValueMatch().GetHeaders()[0].GetStringMatch().GetSafeRegex().GetRegex()
		if got != test.want {
			t.Errorf("%s %s: %s, want %s", test.kind, test.value, got, test.want)
		}
	}
	all := pathCondition(&egv1a1.PathMatch{Value: "/"}).holds("k").GetHeaderValueMatch().GetHeaders()[0]
	if all.GetStringMatch().GetPrefix() != "/" {
		t.Errorf("/: %v", all)
	}
}

// TestEveryDescriptorHasABucket compares what requests are given with what the filter looks for, which has to be the
// same keys in the same order.
func TestEveryDescriptorHasABucket(t *testing.T) {
	limit := "limit: {requests: 5, unit: Day}"
	a := field(t, "p", "local: "+rules("{"+limit+"}",
		"{"+limit+", clientSelectors: [{headers: [{name: a, type: Distinct}, {name: b, value: c}], "+
			"sourceCIDR: {value: '::/0'}}]}",
		"{"+limit+", clientSelectors: [{queryParams: [{name: a, type: Distinct}]}]}"))
	for _, perRoute := range []bool{false, true} {
		_, local := limits(a)
		config := localConfig(local, perRoute)
		var buckets, actions []string
		for _, d := range config.GetDescriptors() {
			var keys []string
			for _, e := range d.GetEntries() {
				keys = append(keys, e.GetKey())
			}
			buckets = append(buckets, strings.Join(keys, " "))
		}
		for _, l := range config.GetRateLimits() {
			var keys []string
			for _, action := range l.GetActions() {
				keys = append(keys, descriptorKey(action))
			}
			actions = append(actions, strings.Join(keys, " "))
		}
		// Three ways to be a request of none of the others, for the first rule.
		want := []string{buckets[0], buckets[0], buckets[0], buckets[1], buckets[2]}
		if diff := cmp.Diff(want, actions); diff != "" {
			t.Errorf("per route %v (-buckets +requests):\n%s", perRoute, diff)
		}
	}
}

// descriptorKey is the key of the entry that an action adds.
func descriptorKey(a *routev3.RateLimit_Action) string {
	for _, with := range []interface{ GetDescriptorKey() string }{
		a.GetGenericKey(), a.GetHeaderValueMatch(), a.GetRequestHeaders(), a.GetQueryParameterValueMatch(),
		a.GetQueryParameters(), a.GetRemoteAddressMatch(), a.GetMetadata(),
	} {
		if key := with.GetDescriptorKey(); key != "" {
			return key
		}
	}
	return ""
}

// TestChargedIsWhatWasAskedAbout compares the two descriptors of a rule whose responses cost something: without the
// modes and what says that the request has passed, they lead to one counter.
func TestChargedIsWhatWasAskedAbout(t *testing.T) {
	global, _ := limits(field(t, "p", "global: "+rules("{limit: {requests: 5, unit: Day}, shadowMode: true, "+
		"cost: {response: {from: Number, number: 7}}, clientSelectors: [{headers: [{name: a, type: Distinct}]}]}")))
	both := global[0].global()
	if len(both) != 2 || both[0].GetApplyOnStreamDone() || !both[1].GetApplyOnStreamDone() {
		t.Fatalf("got %v", both)
	}
	counted := func(l *routev3.RateLimit) []*routev3.RateLimit_Action {
		var out []*routev3.RateLimit_Action
		for _, a := range l.GetActions() {
			if key := descriptorKey(a); key != count.KeyMode && key != count.MetadataPassed {
				out = append(out, a)
			}
		}
		return out
	}
	if diff := cmp.Diff(counted(both[0]), counted(both[1]), cmp.Comparer(proto.Equal)); diff != "" {
		t.Errorf("asked and charged differ:\n%s", diff)
	}
}
