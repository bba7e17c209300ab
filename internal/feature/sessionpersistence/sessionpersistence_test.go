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

func TestGeneratedName(t *testing.T) {
	rule := func(paths ...string) *model.Rule {
		r := &model.Rule{}
		for _, p := range paths {
			r.Matches = append(r.Matches, featuretest.PrefixMatch(p))
		}
		return r
	}
	a, same, b := generatedName(rule("/a", "/x")), generatedName(rule("/a", "/x")), generatedName(rule("/a/x"))
	if a != same || a == b || !strings.HasPrefix(a, generated) {
		t.Errorf("names %q, %q for the same matches and %q for others", a, same, b)
	}
	withBackend := rule("/a", "/x")
	withBackend.Index, withBackend.Backends = 3, []model.WeightedBackend{{Weight: 1}}
	if got := generatedName(withBackend); got != a {
		t.Errorf("another backend or position changes the name from %q to %q: clients would lose their sessions", a, got)
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
