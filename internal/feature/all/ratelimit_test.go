package all

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/service"
)

// startRateLimit counts requests until the test ends, and returns where.
func startRateLimit(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(service.ServerOptions()...)
	service.New(service.Options{Store: ratelimit.NewMemory(0), Budget: patience}).Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// limitScenario has rules, as YAML, for local or global limits. Each step is a request and the status that it gets.
func limitScenario(name, kind string, rules []string, steps ...step) scenario {
	text := kind + ": {rules: [" + strings.Join(rules, ", ") + "]}"
	spec := &egv1a1.RateLimitSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
		panic(text + ": " + err.Error())
	}
	a := attach("BackendTrafficPolicy.rateLimit", spec)
	a.Source.Name = model.Name{Namespace: "test", Name: strings.ReplaceAll(name, " ", "-")}
	return scenario{name: kind + " limit/" + name, attached: []model.Attached{a}, run: func(t *testing.T, g *gateway) {
		for i, s := range steps {
			got := g.do(t, s.request)
			if got.status != s.want {
				t.Errorf("request %d (%s %s %v): status %d, want %d", i+1, s.request.method, s.request.path,
					s.request.header, got.status, s.want)
			}
			for header, want := range s.headers {
				if value := got.header.Get(header); value != want {
					t.Errorf("request %d: %s is %q, want %q", i+1, header, value, want)
				}
			}
		}
	}}
}

// step is a request, the status that it gets, and some headers of the answer.
type step struct {
	request request
	want    int
	headers map[string]string
}

func get(want int) step                  { return step{request: request{}, want: want} }
func getPath(path string, want int) step { return step{request: request{path: path}, want: want} }
func send(method string, want int) step  { return step{request: request{method: method}, want: want} }

func getWith(name, value string, want int) step {
	return step{request: request{header: map[string]string{name: value}}, want: want}
}

// selectionScenarios are about which requests a rule is for, which is the same for both kinds.
func selectionScenarios(kind string) []scenario {
	one := func(selector string) []string {
		return []string{"{limit: {requests: 1, unit: Hour}, clientSelectors: [" + selector + "]}"}
	}
	add := func(name, selector string, steps ...step) scenario {
		return limitScenario(name, kind, one(selector), steps...)
	}
	return []scenario{
		add("each value of a header", "{headers: [{name: x-user, type: Distinct}]}",
			getWith("x-user", "a", 200), getWith("x-user", "a", 429), getWith("x-user", "b", 200),
			getWith("x-user", "b", 429), get(200), get(200)),
		add("header", "{headers: [{name: x-a, value: b}, {name: x-c, type: RegularExpression, value: 'd+'}]}",
			getWith("x-a", "b", 200), getWith("x-a", "b", 200),
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "dd"}}, want: 200},
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "dd"}}, want: 429},
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "de"}}, want: 200}),
		add("any header but", "{headers: [{name: x-a, value: b, invert: true}]}",
			getWith("x-a", "b", 200), getWith("x-a", "c", 200), getWith("x-a", "c", 429), get(429), getWith("x-a", "b", 200)),
		add("methods", "{methods: [{value: GET}, {value: PUT}]}",
			get(200), send("PUT", 429), get(429), send("POST", 200)),
		add("any method but", "{methods: [{value: GET, invert: true}]}",
			send("PUT", 200), send("POST", 429), get(200)),
		add("path", "{path: {type: Exact, value: /a}}",
			getPath("/a", 200), getPath("/a", 429), getPath("/a?way=around", 429), getPath("/a/b", 200), getPath("/ab", 200)),
		add("path prefix", "{path: {value: /a}}",
			getPath("/a", 200), getPath("/a/b", 429), getPath("/a?b", 429), getPath("/ab", 200)),
		add("any path but", "{path: {type: RegularExpression, value: '/[ab]', invert: true}}",
			getPath("/c", 200), getPath("/d", 429), getPath("/a?c", 200), getPath("/b", 200)),
		add("address", "{sourceCIDR: {value: 127.0.0.0/8}}", get(200), get(429)),
		add("other address", "{sourceCIDR: {value: 10.0.0.0/8}}", get(200), get(200)),
		add("any address but", "{sourceCIDR: {value: 10.0.0.0/8, invert: true}}", get(200), get(429)),
		add("each address", "{sourceCIDR: {type: Distinct, value: 0.0.0.0/0}}", get(200), get(429)),
		add("query", "{queryParams: [{name: a, value: b}]}",
			getPath("/?a=b", 200), getPath("/?x&a=b", 429), getPath("/?a=c", 200)),
		add("each value of a query", "{queryParams: [{name: a, type: Distinct}]}",
			getPath("/?a=1", 200), getPath("/?a=1", 429), getPath("/?a=2", 200), get(200), get(200)),
		add("several selectors", "{methods: [{value: GET}]}, {headers: [{name: x-a, value: b}]}",
			getWith("x-a", "b", 200), getWith("x-a", "b", 429), get(200)),
	}
}

func localLimitScenarios() []scenario {
	const hour = "limit: {requests: 1, unit: Hour}"
	return append(selectionScenarios("local"),
		limitScenario("all requests", "local", []string{"{limit: {requests: 2, unit: Year}}"},
			step{want: 200, headers: map[string]string{"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1"}}, get(200),
			step{want: 429, headers: map[string]string{"x-ratelimit-remaining": "0", "content-length": "18"}}),
		limitScenario("no requests", "local", []string{"{limit: {requests: 0, unit: Second}}"}, get(429), get(429)),
		limitScenario("cost", "local", []string{
			"{limit: {requests: 5, unit: Day}, cost: {request: {from: Number, number: 2}}}",
		}, get(200), get(200), get(429)),
		limitScenario("shadow", "local", []string{"{" + hour + ", shadowMode: true}"}, get(200), get(200)),
		limitScenario("headers off", "local", []string{"{" + hour + ", xRateLimitHeaders: 'Off'}"},
			step{want: 200, headers: map[string]string{"x-ratelimit-limit": ""}}, get(429)),
		// The rule without selectors is for those that no other rule is for.
		limitScenario("the rest", "local", []string{
			"{" + hour + "}",
			"{limit: {requests: 2, unit: Hour}, clientSelectors: [{headers: [{name: x-a, value: b}, {name: x-c, value: d}]}]}",
		},
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "d"}}, want: 200}, getWith("x-a", "b", 200),
			getWith("x-c", "d", 429), get(429),
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "d"}}, want: 200},
			step{request: request{header: map[string]string{"x-a": "b", "x-c": "d"}}, want: 429}),
	)
}

func globalLimitScenarios() []scenario {
	const week = "limit: {requests: 2, unit: Week}"
	limited := func(left, reset string) map[string]string {
		return map[string]string{
			"x-ratelimit-limit": "2, 2;w=604800", "x-ratelimit-remaining": left, "x-ratelimit-reset": reset,
		}
	}
	refused := limited("0", "604800")
	refused["retry-after"], refused["x-envoy-ratelimited"] = "604800", ""
	return slices.Concat(selectionScenarios("global"), []scenario{
		limitScenario("all requests", "global", []string{"{" + week + "}"},
			step{want: 200, headers: limited("1", "604800")}, get(200), step{want: 429, headers: refused}),
		limitScenario("no requests", "global", []string{"{limit: {requests: 0, unit: Second}}"}, get(429), get(429)),
		limitScenario("all rules", "global", []string{"{" + week + "}", "{limit: {requests: 1, unit: Day}, " +
			"clientSelectors: [{headers: [{name: x-a, value: b}]}]}"},
			getWith("x-a", "b", 200), getWith("x-a", "b", 429), get(200), get(429)),
		limitScenario("shadow", "global", []string{"{" + week + ", shadowMode: true}"}, get(200), get(200), get(200)),
		limitScenario("headers off", "global", []string{"{" + week + ", xRateLimitHeaders: 'Off'}"},
			step{want: 200, headers: map[string]string{"x-ratelimit-limit": ""}}),
		limitScenario("cost", "global", []string{
			"{limit: {requests: 5, unit: Month}, cost: {request: {from: Number, number: 2}}}",
		}, get(200), get(200), get(429)),
		metadataCost(), responseCost(), limitFromMetadata(),
	})
}

// fromHeader puts a header of the request into metadata, as a filter of the user's would.
func fromHeader(header, namespace, key string) func(*feature.Scope) {
	return func(s *feature.Scope) {
		s.Add("envoy.filters.http.header_to_metadata", &metadatav3.Config{RequestRules: []*metadatav3.Config_Rule{{
			Header: header, OnHeaderPresent: &metadatav3.Config_KeyValuePair{
				MetadataNamespace: namespace, Key: key, Type: metadatav3.Config_NUMBER,
			},
		}}})
	}
}

func metadataCost() scenario {
	s := limitScenario("cost from metadata", "global", []string{
		"{limit: {requests: 10, unit: Day}, cost: {request: {from: Metadata, metadata: {namespace: n.s, key: k}}}}",
	}, getWith("x-cost", "6", 200), getWith("x-cost", "5", 429), getWith("x-cost", "4", 200), getWith("x-cost", "1", 429))
	s.before = fromHeader("x-cost", "n.s", "k")
	return s
}

// responseCost is charged when the response has been sent, so what is left shows with one of the next requests.
func responseCost() scenario {
	s := limitScenario("response cost", "global", []string{"{limit: {requests: 10, unit: Day}, cost: {" +
		"request: {from: Number, number: 0}, response: {from: Metadata, metadata: {namespace: usage, key: tokens}}}}"})
	s.before = fromHeader("x-tokens", "usage", "tokens")
	left := func(t *testing.T, g *gateway, want string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if got = g.do(t, request{}).header.Get("x-ratelimit-remaining"); got == want {
				return
			}
		}
		t.Fatalf("%s is left, want %s", got, want)
	}
	s.run = func(t *testing.T, g *gateway) {
		tokens := func(n string) request { return request{header: map[string]string{"x-tokens": n}} }
		left(t, g, "10")
		g.expect(t, tokens("4"), 200)
		left(t, g, "6")
		// More than is left: the request has been served by then.
		g.expect(t, tokens("7"), 200)
		left(t, g, "0")
		g.expect(t, tokens("7"), 429)
	}
	return s
}

// limitFromMetadata has the metadata's limit hold where it is, and the rule's where it is not.
func limitFromMetadata() scenario {
	s := limitScenario("limit from metadata", "global", []string{
		"{limit: {requests: 1, unit: Day, fromMetadata: {namespace: tenant, key: limit}}, " +
			"clientSelectors: [{path: {value: /tenant}}]}",
		"{limit: {requests: 1, unit: Day, fromMetadata: {namespace: tenant, key: none}}, " +
			"clientSelectors: [{path: {value: /other}}]}",
	}, getPath("/tenant", 200), getPath("/tenant", 200), getPath("/tenant", 429), getPath("/other", 200),
		getPath("/other", 429))
	s.before = func(scope *feature.Scope) {
		scope.Add("envoy.filters.http.set_metadata", &setv3.Config{Metadata: []*setv3.Metadata{{
			MetadataNamespace: "tenant", Value: &structpb.Struct{Fields: map[string]*structpb.Value{
				"limit": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
					"requests_per_unit": structpb.NewNumberValue(2), "unit": structpb.NewStringValue("HOUR"),
				}}),
			}},
		}}})
	}
	return s
}
