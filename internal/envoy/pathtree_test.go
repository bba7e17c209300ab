package envoy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/model"
)

// The tree is only another way to look for a route: for any path it finds the one that the plain list finds.
func TestPathTreeFindsWhatTheListFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "ab", "b", "c-d", "a.b"}
	randomPath := func() string {
		var b strings.Builder
		for range rng.IntN(4) {
			b.WriteString("/" + segments[rng.IntN(len(segments))])
		}
		if b.Len() == 0 || rng.IntN(8) == 0 {
			b.WriteString("/")
		}
		return b.String()
	}
	for round := range 50 {
		var routes []hostRoute
		seen := map[string]bool{}
		for i := 0; len(routes) <= treeFrom; i++ {
			m := model.Match{Path: model.ValueMatch{Type: model.MatchType(rng.IntN(2)), Value: randomPath()}}
			if m.Path.Type == model.Prefix && m.Path.Value != "/" {
				m.Path.Value = strings.TrimSuffix(m.Path.Value, "/")
			}
			name := fmt.Sprintf("%d %s", m.Path.Type, m.Path.Value)
			if !seen[name] || rng.IntN(3) == 0 {
				routes = append(routes, testRoute(i, m))
			}
			seen[name] = true
		}
		sortHostRoutes(routes)
		tree, ok := pathTree(routes)
		if !ok {
			continue
		}
		leaves := decodeTree(t, tree)
		for range 500 {
			path := randomPath()
			if rng.IntN(4) == 0 {
				path += "x"
			}
			if got, want := findInTree(leaves, path), findInList(names(routes), path); got != want {
				t.Fatalf("round %d: %s: the tree finds %q, the list %q", round, path, got, want)
			}
		}
	}
}

func TestPathTreeIsForManyPlainPathsOnly(t *testing.T) {
	many := func(change func(i int, m *model.Match)) []hostRoute {
		var out []hostRoute
		for i := range treeFrom + 1 {
			m := model.Match{Path: model.ValueMatch{Type: model.Prefix, Value: fmt.Sprintf("/r%d", i)}}
			change(i, &m)
			out = append(out, testRoute(i, m))
		}
		sortHostRoutes(out)
		return out
	}
	cases := map[string]struct {
		routes []hostRoute
		want   bool
	}{
		"many prefixes": {many(func(int, *model.Match) {}), true},
		"few prefixes":  {many(func(int, *model.Match) {})[:treeFrom], false},
		"one regex": {many(func(i int, m *model.Match) {
			if i == 7 {
				m.Path = model.ValueMatch{Type: model.Regex, Value: "/r7.*"}
			}
		}), false},
		"so many at the root that every leaf would repeat them": {many(func(i int, m *model.Match) {
			if i%2 == 0 {
				m.Path.Value = "/"
			}
		}), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, got := pathTree(c.routes); got != c.want {
				t.Errorf("pathTree is used: %v, want %v", got, c.want)
			}
		})
	}
}

// testRoute is a route with one match, named by its path and index.
func testRoute(i int, m model.Match) hostRoute {
	s := site{route: &model.Route{Key: model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{
		Namespace: "ns", Name: fmt.Sprintf("r%04d", i),
	}}}}
	rule := &model.Rule{Matches: []model.Match{m}}
	return hostRoute{entry: &entry{
		Path: m.Path, Rank: s.rank(rule, 0, 0, m),
		Body: marshal(&routev3.Route{
			Name: routeName(s.route.Key, rule), Match: routeMatch(m, false), Action: respond(200),
		}),
	}}
}

func names(routes []hostRoute) []*routev3.Route {
	out := make([]*routev3.Route, len(routes))
	for i, r := range routes {
		out[i] = &routev3.Route{}
		if err := proto.Unmarshal(r.Body, out[i]); err != nil {
			panic(err)
		}
	}
	return out
}

func decodeTree(t *testing.T, tree []byte) map[string][]*routev3.Route {
	t.Helper()
	var m matcherv3.Matcher
	if err := proto.Unmarshal(tree, &m); err != nil {
		t.Fatal(err)
	}
	out := map[string][]*routev3.Route{}
	for prefix, on := range m.GetMatcherTree().GetPrefixMatchMap().GetMap() {
		var list routev3.RouteList
		if err := on.GetAction().GetTypedConfig().UnmarshalTo(&list); err != nil {
			t.Fatal(err)
		}
		out[prefix] = list.GetRoutes()
	}
	return out
}

// findInTree does what Envoy does: the leaf of the longest literal, and no way back.
func findInTree(leaves map[string][]*routev3.Route, path string) string {
	longest, found := "", false
	for prefix := range leaves {
		if strings.HasPrefix(path, prefix) && len(prefix) >= len(longest) {
			longest, found = prefix, true
		}
	}
	if !found {
		return ""
	}
	return findInList(leaves[longest], path)
}

func findInList(routes []*routev3.Route, path string) string {
	for _, r := range routes {
		matches := false
		switch m := r.GetMatch().GetPathSpecifier().(type) {
		case *routev3.RouteMatch_Path:
			matches = path == m.Path
		case *routev3.RouteMatch_Prefix:
			matches = strings.HasPrefix(path, m.Prefix)
		case *routev3.RouteMatch_PathSeparatedPrefix:
			matches = path == m.PathSeparatedPrefix || strings.HasPrefix(path, m.PathSeparatedPrefix+"/")
		}
		if matches {
			return r.GetName()
		}
	}
	return ""
}
