package envoy

import (
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// treeFrom is the number of routes above which a host looks its paths up in a tree instead of trying its routes one
	// by one: measured, Envoy's time per request is the same up to some 64 routes and grows with every further one.
	treeFrom = 64
	// treeGrowth bounds how many more routes the tree may hold than the list: ancestors are repeated in every leaf.
	treeGrowth = 4
)

// routeListURL is the type of a leaf: the only matcher action that tries several routes in turn.
const routeListURL = "type.googleapis.com/envoy.config.route.v3.RouteList"

// pathTree returns the marshalled VirtualHost.matcher for the sorted routes, or false if a plain list is better.
//
// The tree finds the longest path literal that the request's path starts with. Its leaf holds the routes of that
// literal and of all literals above it, because Envoy does not go back up once a leaf is chosen. A literal matches
// whole path elements, so only its own ancestors can match what it matches. A regular expression can match anywhere,
// and a CONNECT request has no path: with one of these, or with routes that differ in their hostname's precedence, the
// list is used.
func pathTree(routes []hostRoute) ([]byte, bool) {
	if len(routes) <= treeFrom {
		return nil, false
	}
	byPath := make(map[string][]int, len(routes))
	for i, r := range routes {
		if r.Path.Type == model.Regex || r.Path.Type == model.Connect || r.from != routes[0].from {
			return nil, false
		}
		byPath[r.Path.Value] = append(byPath[r.Path.Value], i)
	}
	leaves := make(map[string][]hostRoute, len(byPath))
	size := 0
	for path := range byPath {
		leaf := leafRoutes(routes, byPath, path)
		leaves[path] = leaf
		if size += len(leaf); size > treeGrowth*len(routes) {
			return nil, false
		}
	}
	return marshalTree(leaves), true
}

// leafRoutes returns the routes that can match a path that starts with the literal, sorted.
func leafRoutes(routes []hostRoute, byPath map[string][]int, path string) []hostRoute {
	var leaf []hostRoute
	for at := path; ; {
		for _, i := range byPath[at] {
			// An exact route above the literal cannot match anything below.
			if at == path || routes[i].Path.Type == model.Prefix {
				leaf = append(leaf, routes[i])
			}
		}
		if at == "/" || at == "" {
			break
		}
		at = at[:strings.LastIndexByte(at, '/')]
		if at == "" {
			at = "/"
		}
	}
	sortHostRoutes(leaf)
	return leaf
}

func marshalTree(leaves map[string][]hostRoute) []byte {
	byPrefix := make(map[string]*matcherv3.Matcher_OnMatch, len(leaves))
	for path, leaf := range leaves {
		byPrefix[path] = &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{
				Name: "routes",
				TypedConfig: &anypb.Any{
					TypeUrl: routeListURL, Value: appendRoutes(nil, fieldRouteListRoute, leaf),
				},
			},
		}}
	}
	return marshal(&matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherTree_{
		MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: &xdscorev3.TypedExtensionConfig{
				Name:        "path",
				TypedConfig: toAny(&typematcherv3.HttpRequestHeaderMatchInput{HeaderName: ":path"}),
			},
			TreeType: &matcherv3.Matcher_MatcherTree_PrefixMatchMap{
				PrefixMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: byPrefix},
			},
		},
	}})
}
