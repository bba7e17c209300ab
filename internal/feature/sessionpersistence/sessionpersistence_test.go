package sessionpersistence

import (
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.SessionPersistence](t, Feature{})
}

// Clients keep their sessions when a rule is edited, and never meet a cookie of another rule.
func TestGeneratedName(t *testing.T) {
	name := func(route string, change func(*model.Rule)) string {
		rule := &model.Rule{Index: 1, Matches: []model.Match{featuretest.PrefixMatch("/a")}}
		if change != nil {
			change(rule)
		}
		r := featuretest.NewRoute(rule, featuretest.PrefixMatch("/a"))
		r.Key = model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "ns", Name: route}}
		return generatedName(r, model.Attached{})
	}
	base := name("a", nil)
	if !strings.HasPrefix(base, generated) {
		t.Errorf("the name is %q", base)
	}
	edit := func(r *model.Rule) { r.Matches, r.Backends = nil, []model.WeightedBackend{{Weight: 1}} }
	if got := name("a", edit); got != base {
		t.Errorf("other matches and backends change the name from %q to %q: clients would lose their sessions", base, got)
	}
	if got := name("b", nil); got == base {
		t.Error("another route has the same name")
	}
	if got := name("a", func(r *model.Rule) { r.Index = 2 }); got == base {
		t.Error("another rule has the same name")
	}
	named := name("a", func(r *model.Rule) { r.Name = "checkout" })
	if got := name("a", func(r *model.Rule) { r.Name, r.Index = "checkout", 7 }); got != named {
		t.Error("moving a rule with a name changes the cookie's")
	}
}

func TestCheck(t *testing.T) {
	header, unknown := new(gwv1.HeaderBasedSessionPersistence), new(gwv1.SessionPersistenceType("IP"))
	long, zero, bad := new(gwv1.Duration("1h")), new(gwv1.Duration("0s")), new(gwv1.Duration("1d"))
	named := func(name string) *gwv1.HeaderConfig { return &gwv1.HeaderConfig{Name: gwv1.HeaderName(name)} }
	lasting := &gwv1.CookieConfig{LifetimeType: new(gwv1.PermanentCookieLifetimeType)}
	path := func(p string) *gwv1.CookieConfig { return &gwv1.CookieConfig{Path: &p} }
	tests := []struct {
		name string
		spec gwv1.SessionPersistence
		want string
	}{
		{"empty", gwv1.SessionPersistence{}, ""},
		{"permanent", gwv1.SessionPersistence{Cookie: lasting, AbsoluteTimeout: long}, ""},
		{"path", gwv1.SessionPersistence{Cookie: path("/a/b")}, ""},
		{"header", gwv1.SessionPersistence{Type: header, Header: named("x-session")}, ""},
		{"unknown type", gwv1.SessionPersistence{Type: unknown}, "use Cookie or Header"},
		{"permanent for how long", gwv1.SessionPersistence{Cookie: lasting}, "needs one"},
		{"permanent for nothing", gwv1.SessionPersistence{Cookie: lasting, AbsoluteTimeout: zero}, "at least 1s"},
		{"no duration", gwv1.SessionPersistence{Cookie: lasting, AbsoluteTimeout: bad}, "not a duration"},
		{"session with a limit", gwv1.SessionPersistence{AbsoluteTimeout: long}, "only limit the life"},
		{"header with a limit", gwv1.SessionPersistence{Type: header, Header: named("a"), AbsoluteTimeout: long},
			"only limit the life"},
		{"cookie name", gwv1.SessionPersistence{Cookie: &gwv1.CookieConfig{Name: new(gwv1.CookieName("a;b"))}},
			"not a cookie name"},
		{"cookie path injects an attribute", gwv1.SessionPersistence{Cookie: path("/; Domain=com")}, "not one for a cookie"},
		{"cookie path without slash", gwv1.SessionPersistence{Cookie: path("a")}, "not one for a cookie"},
		{"no header", gwv1.SessionPersistence{Type: header}, "give its name"},
		{"framing header", gwv1.SessionPersistence{Type: header, Header: named("Content-Length")}, "managed"},
		{"host header", gwv1.SessionPersistence{Type: header, Header: named("Host")}, "use another one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
		})
	}
}
