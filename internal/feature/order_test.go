package feature_test

import (
	"strings"
	"testing"

	basicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// adder adds a filter of its configuration, and one that prepares it.
type adder struct {
	name    string
	config  proto.Message
	prepare bool
}

func (a adder) Name() string { return a.name }

func (a adder) HTTPFilters(s *feature.Scope, _ model.Attached) {
	if a.prepare {
		s.Add(a.name+"/prepare", &headerv3.HeaderMutation{})
	}
	s.Add(a.name, a.config)
}

// TestReorder moves what features have added as a whole, one move after the other.
func TestReorder(t *testing.T) {
	chain := feature.NewChain(
		adder{"header", &headerv3.HeaderMutation{}, false}, adder{"basic", &basicv3.BasicAuth{}, true},
		adder{"lua", &luav3.Lua{}, false}, adder{"rbac", &rbacv3.RBAC{}, true},
	)
	var attached []model.Attached
	for _, f := range chain.Features() {
		attached = append(attached, model.Attached{Feature: f.Name()})
	}
	const basic, lua, rbac, header = "envoy.filters.http.basic_auth", "envoy.filters.http.lua", "envoy.filters.http.rbac",
		"envoy.filters.http.header_mutation"
	for _, tt := range []struct {
		moves []model.FilterMove
		want  string
	}{
		{nil, "header basic/prepare basic lua rbac/prepare rbac"},
		{[]model.FilterMove{{Name: rbac, Anchor: basic}}, "header rbac/prepare rbac basic/prepare basic lua"},
		{[]model.FilterMove{{Name: basic, Anchor: lua, After: true}}, "header lua basic/prepare basic rbac/prepare rbac"},
		{[]model.FilterMove{{Name: header, Anchor: rbac, After: true}, {Name: lua, Anchor: header, After: true}},
			"basic/prepare basic rbac/prepare rbac header lua"},
		{[]model.FilterMove{{Name: lua, Anchor: "envoy.filters.http.wasm"}, {Name: lua, Anchor: lua}},
			"header basic/prepare basic lua rbac/prepare rbac"},
	} {
		s := &feature.Scope{}
		chain.Filters(s, attached)
		s.Reorder(model.OrderFilters(tt.moves))
		var got []string
		for _, f := range s.Filters {
			got = append(got, f.GetName())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v: %v, want %s", tt.moves, got, tt.want)
		}
	}
}
