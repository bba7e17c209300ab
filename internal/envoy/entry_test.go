package envoy

import (
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

func backendKey(name string) model.BackendKey {
	return model.BackendKey{Kind: model.KindBackend, Name: model.Name{Namespace: "ns", Name: name}}
}

// The weights of a split are Envoy's as long as no backend has filters of its own; then each has a route with the
// share that is left for it and those before it, in the same order for every request.
func TestShares(t *testing.T) {
	filter := []model.Attached{{Feature: "URLRewrite"}}
	weighted := func(name string, weight uint32, attached ...model.Attached) model.WeightedBackend {
		return model.WeightedBackend{Backend: backendKey(name), Weight: weight, Attached: attached}
	}
	type got struct {
		Backends   []string
		Millionths uint32
		Filtered   bool
	}
	cases := map[string]struct {
		backends []model.WeightedBackend
		want     []got
	}{
		"no backends": {nil, []got{{Millionths: 1e6}}},
		"one":         {[]model.WeightedBackend{weighted("a", 3)}, []got{{Backends: []string{"a"}, Millionths: 1e6}}},
		"one with a filter": {
			[]model.WeightedBackend{weighted("a", 1, filter...)},
			[]got{{Backends: []string{"a"}, Millionths: 1e6, Filtered: true}},
		},
		"plain split": {
			[]model.WeightedBackend{weighted("a", 1), weighted("b", 3)},
			[]got{{Backends: []string{"a", "b"}, Millionths: 1e6}},
		},
		"weight 0 takes nothing": {
			[]model.WeightedBackend{weighted("a", 0, filter...), weighted("b", 3)},
			[]got{{Backends: []string{"b"}, Millionths: 1e6}},
		},
		"a filter splits the rule": {
			[]model.WeightedBackend{weighted("a", 1), weighted("b", 1, filter...), weighted("c", 1)},
			[]got{
				{Backends: []string{"a"}, Millionths: 333333},
				{Backends: []string{"b"}, Millionths: 666667, Filtered: true},
				{Backends: []string{"c"}, Millionths: 1e6},
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out := shares(&model.Rule{Backends: c.backends})
			have := make([]got, len(out))
			for i, s := range out {
				have[i] = got{Millionths: s.millionths, Filtered: len(s.attached) > 0}
				for _, b := range s.backends {
					have[i].Backends = append(have[i].Backends, b.Backend.Name.Name)
				}
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An invalid backend gets its share of 500s: a cluster that nobody has, and the status for that.
func TestInvalidBackendAnswers500(t *testing.T) {
	known := func(k model.BackendKey) (model.Backend, bool) { return model.Backend{Key: k}, k == backendKey("a") }
	s := site{chain: feature.NewChain(), backend: known, route: &model.Route{
		Key: model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "ns", Name: "r"}},
		Rules: []model.Rule{{
			Matches:  []model.Match{{Path: model.ValueMatch{Type: model.Prefix, Value: "/"}}},
			Backends: []model.WeightedBackend{{Weight: 1, Backend: backendKey("a")}, {Weight: 1}},
		}},
	}}
	entries := s.entries()
	var r routev3.Route
	if err := proto.Unmarshal(entries[0].Body, &r); err != nil {
		t.Fatal(err)
	}
	action := r.GetRoute()
	if got := action.GetClusterNotFoundResponseCode(); got != routev3.RouteAction_INTERNAL_SERVER_ERROR {
		t.Errorf("cluster_not_found_response_code is %v", got)
	}
	var clusters []string
	for _, c := range action.GetWeightedClusters().GetClusters() {
		clusters = append(clusters, c.GetName())
	}
	if diff := cmp.Diff([]string{"backend/ns/a", feature.InvalidCluster}, clusters); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]model.BackendKey{backendKey("a")}, entries[0].Needs); diff != "" {
		t.Errorf("needs: %s", diff)
	}
}

// Each row of the list is more specific than the next, for a reason that the Gateway API gives.
func TestPrecedence(t *testing.T) {
	path := func(typ model.MatchType, value string) model.Match {
		return model.Match{Path: model.ValueMatch{Type: typ, Value: value}}
	}
	with := func(m model.Match, method string, headers, query int) model.Match {
		m.Method = method
		m.Headers = make([]model.NamedMatch, headers)
		m.Query = make([]model.NamedMatch, query)
		return m
	}
	old := time.Unix(1000, 0)
	young := time.Unix(2000, 0)
	type row struct {
		host    string
		match   model.Match
		created time.Time
		name    string
		rule    int
	}
	rows := []row{
		{"a.example.com", path(model.Prefix, "/"), young, "z", 0},
		{"*.example.com", path(model.Exact, "/x"), young, "z", 0},
		{"*.com", path(model.Exact, "/x"), young, "z", 0},
		{"", path(model.Exact, "/x/y"), young, "z", 0},
		{"", path(model.Exact, "/x"), young, "z", 0},
		{"", path(model.Regex, "/x.*"), young, "z", 0},
		{"", path(model.Prefix, "/x/y"), young, "z", 0},
		{"", with(path(model.Prefix, "/x"), "GET", 0, 0), young, "z", 0},
		{"", with(path(model.Prefix, "/x"), "", 2, 0), young, "z", 0},
		{"", with(path(model.Prefix, "/x"), "", 1, 1), young, "z", 0},
		{"", with(path(model.Prefix, "/x"), "", 1, 0), young, "z", 0},
		{"", with(path(model.Prefix, "/x"), "", 0, 1), young, "z", 0},
		{"", path(model.Prefix, "/x"), old, "z", 3},
		{"", path(model.Prefix, "/x"), young, "a", 2},
		{"", path(model.Prefix, "/x"), young, "b", 0},
		{"", path(model.Prefix, "/x"), young, "b", 1},
	}
	var want, got []hostRoute
	for _, r := range rows {
		s := site{route: &model.Route{
			Key: model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Name: r.name}}, Created: r.created,
		}}
		want = append(want, hostRoute{
			entry: &entry{Rank: s.rank(&model.Rule{Index: r.rule}, 0, 0, r.match)}, from: r.host,
		})
	}
	got = slices.Clone(want)
	slices.Reverse(got)
	sortHostRoutes(got)
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("place %d: host %q, %+v", i, got[i].from, got[i].Rank)
		}
	}
}

// pins is a feature that holds clients to an endpoint.
type pins struct{}

func (pins) Name() string { return "Pins" }
func (pins) Pins()        {}

// Backends become one cluster only where a session or a fallback needs it, and Envoy can do it.
func TestTogether(t *testing.T) {
	a, b, dns, spare := backendKey("a"), backendKey("b"), backendKey("dns"), backendKey("spare")
	s := site{chain: feature.NewChain(pins{}), backend: func(k model.BackendKey) (model.Backend, bool) {
		out := model.Backend{Key: k, Fallback: k == spare}
		if k == dns {
			out.Address = model.AddressDNS
		}
		return out, k != model.BackendKey{}
	}}
	sticky := []model.Attached{{Feature: "Pins"}}
	nobody := model.BackendKey{}
	weighted := func(keys ...model.BackendKey) []model.WeightedBackend {
		var out []model.WeightedBackend
		for i, k := range keys {
			out = append(out, model.WeightedBackend{Backend: k, Weight: uint32(i + 1)})
		}
		return out
	}
	filtered := weighted(a, b)
	filtered[0].Attached = []model.Attached{{Feature: "Other"}}
	cases := map[string]struct {
		rule model.Rule
		want string
	}{
		"two": {
			model.Rule{Attached: sticky, Backends: weighted(a, b)}, "split/backend/ns/a=1,backend/ns/b=2",
		},
		"nobody asks": {model.Rule{Backends: weighted(a, b)}, "backend/ns/a backend/ns/b"},
		"one is a fallback": {
			model.Rule{Backends: weighted(a, spare)}, "split/backend/ns/a=1,backend/ns/spare=2",
		},
		"one":         {model.Rule{Attached: sticky, Backends: weighted(a)}, "backend/ns/a"},
		"one invalid": {model.Rule{Attached: sticky, Backends: weighted(a, nobody)}, "backend/ns/a //"},
		"one that Envoy resolves": {
			model.Rule{Attached: sticky, Backends: weighted(a, dns)}, "backend/ns/a backend/ns/dns",
		},
		"one with filters": {model.Rule{Attached: sticky, Backends: filtered}, "backend/ns/a backend/ns/b"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, share := range s.together(&c.rule, shares(&c.rule)) {
				for _, b := range share.backends {
					got = append(got, b.Backend.String())
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("the clusters are %s, want %s", text, c.want)
			}
		})
	}
}

// A GRPCRoute leaves the other requests of its host to other routes, but for the preflights of its calls.
func TestGRPCRoutesTakeGRPCOnly(t *testing.T) {
	preflight := routeMatch(model.Match{Method: "OPTIONS"}, true)
	if len(preflight.GetHeaders()) != 1 || preflight.GetHeaders()[0].GetName() != ":method" {
		t.Errorf("a preflight is %v", preflight)
	}
	for kind, want := range map[string]bool{model.KindGRPCRoute: true, model.KindHTTPRoute: false} {
		s := site{chain: feature.NewChain(), route: &model.Route{
			Key: model.RouteKey{Kind: kind, Name: model.Name{Namespace: "ns", Name: "r"}},
			Rules: []model.Rule{{
				Matches:  []model.Match{{Path: model.ValueMatch{Type: model.Prefix, Value: "/"}}},
				Backends: []model.WeightedBackend{{Weight: 1, Backend: backendKey("a")}},
			}},
		}}
		var r routev3.Route
		if err := proto.Unmarshal(s.entries()[0].Body, &r); err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(r.GetMatch().GetHeaders(), func(h *routev3.HeaderMatcher) bool {
			return h.GetName() == "content-type" && h.GetStringMatch().GetPrefix() == "application/grpc"
		})
		if got != want {
			t.Errorf("%s: takes gRPC only: %v", kind, got)
		}
	}
}
