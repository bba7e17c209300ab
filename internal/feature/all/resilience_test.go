package all

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

func mirrorScenarios() []scenario {
	with := func(name string, spec gwv1.HTTPRequestMirrorFilter, backend string) scenario {
		return scenario{name: "mirror/" + name, attached: []model.Attached{attach("RequestMirror", &spec, backend)}}
	}
	never, always := with("0 %", gwv1.HTTPRequestMirrorFilter{Percent: new(int32(0))}, "shadow"),
		with("100 %, twice", gwv1.HTTPRequestMirrorFilter{Percent: new(int32(100))}, "shadow").
			plus(attach("RequestMirror", &gwv1.HTTPRequestMirrorFilter{}, "shadow"))
	unresolved := with("unresolved", gwv1.HTTPRequestMirrorFilter{}, "")
	quiet := func(t *testing.T, g *gateway) {
		g.expect(t, request{path: "/quiet"}, 200)
	}
	never.run, unresolved.run = quiet, quiet
	// It runs after the others, so that their copies would arrive before its own.
	always.run = func(t *testing.T, g *gateway) {
		if got := g.expect(t, request{path: "/a?b"}, 200).echo.Server; got != "echo" {
			t.Errorf("the client hears %q, want echo", got)
		}
		for range 2 {
			select {
			case got := <-g.up.mirrored:
				if got != g.host+"/a?b" {
					t.Errorf("mirrored %s, want %s/a?b", got, g.host)
				}
			case <-time.After(patience):
				t.Fatal("nothing is mirrored")
			}
		}
	}
	return []scenario{never, unresolved, always}
}

func retryScenarios() []scenario {
	var out []scenario
	add := func(name, backend string, attached []model.Attached, run func(*testing.T, *gateway)) {
		out = append(out, scenario{name: "retry/" + name, backend: backend, attached: attached, run: run})
	}
	only := func(spec gwv1.HTTPRouteRetry) []model.Attached { return []model.Attached{attach("Retry", &spec)} }
	twice := only(gwv1.HTTPRouteRetry{
		Codes: []gwv1.HTTPRouteRetryStatusCode{500, 503}, Attempts: new(2), Backoff: new(gwv1.Duration("1ms")),
	})
	fails := func(fail string, status, hits int) func(*testing.T, *gateway) {
		return func(t *testing.T, g *gateway) { g.countAttempts(t, fail, status, hits) }
	}
	add("succeeds", "", twice, fails("500x2", 200, 3))
	add("gives up", "", twice, fails("503x3", 503, 3))
	add("other code", "", twice, fails("502x1", 502, 1))
	add("once by default", "", only(gwv1.HTTPRouteRetry{
		Codes: []gwv1.HTTPRouteRetryStatusCode{500},
	}), fails("500x2", 500, 2))
	add("no codes", "", only(gwv1.HTTPRouteRetry{}), fails("503x1", 503, 1))
	add("0 attempts", "", only(gwv1.HTTPRouteRetry{
		Codes: []gwv1.HTTPRouteRetryStatusCode{500}, Attempts: new(0),
	}), fails("500x1", 500, 1))
	// Round robin sends every other request to the endpoint that refuses connections.
	add("connection refused", "half", only(gwv1.HTTPRouteRetry{}), func(t *testing.T, g *gateway) {
		for range 6 {
			g.expect(t, request{}, 200)
		}
	})
	add("connection refused, 0 attempts", "half", only(gwv1.HTTPRouteRetry{Attempts: new(0)}),
		func(t *testing.T, g *gateway) {
			statuses := map[int]int{}
			for range 6 {
				statuses[g.do(t, request{}).status]++
			}
			if want := map[int]int{200: 3, 503: 3}; !maps.Equal(statuses, want) {
				t.Errorf("statuses %v, want %v", statuses, want)
			}
		})
	retry := attach("Retry", &gwv1.HTTPRouteRetry{})
	limit := attach("Timeouts", &gwv1.HTTPRouteTimeouts{
		Request: new(gwv1.Duration("15s")), BackendRequest: new(gwv1.Duration("500ms")),
	})
	add("slow attempt", "", []model.Attached{retry, limit}, fails("sleepx1", 200, 2))
	add("slow attempts", "", []model.Attached{limit, retry}, fails("sleepx2", 504, 2))
	short := attach("Timeouts", &gwv1.HTTPRouteTimeouts{Request: new(gwv1.Duration("200ms"))})
	add("request timeout", "", []model.Attached{short, retry}, fails("sleepx2", 504, 1))
	return out
}

// countAttempts sends a request that fails some times, and wants a status after a number of attempts.
func (g *gateway) countAttempts(t *testing.T, fail string, status, attempts int) {
	t.Helper()
	name := t.Name()
	g.expect(t, request{header: map[string]string{"X-Case": name, "X-Fail": fail}}, status)
	if got := g.up.hitsOf(name); got != attempts {
		t.Errorf("the backend had %d attempts, want %d", got, attempts)
	}
}

func timeoutScenarios() []scenario {
	var out []scenario
	add := func(name string, spec gwv1.HTTPRouteTimeouts, status int) {
		out = append(out, scenario{
			name: "timeout/" + name, attached: []model.Attached{attach("Timeouts", &spec)},
			run: func(t *testing.T, g *gateway) { g.countAttempts(t, "sleepx1", status, 1) },
		})
	}
	add("request", gwv1.HTTPRouteTimeouts{Request: new(gwv1.Duration("100ms"))}, 504)
	add("request long enough", gwv1.HTTPRouteTimeouts{Request: new(gwv1.Duration("10s"))}, 200)
	add("request 0s", gwv1.HTTPRouteTimeouts{Request: new(gwv1.Duration("0s"))}, 200)
	add("backendRequest", gwv1.HTTPRouteTimeouts{BackendRequest: new(gwv1.Duration("100ms"))}, 504)
	add("backendRequest 0s", gwv1.HTTPRouteTimeouts{BackendRequest: new(gwv1.Duration("0s"))}, 200)
	return out
}

func sessionScenarios() []scenario {
	with := func(name string, spec gwv1.SessionPersistence, run func(*testing.T, *gateway)) scenario {
		return scenario{
			name: "session/" + name, backend: "three", attached: []model.Attached{attach("SessionPersistence", &spec)}, run: run,
		}
	}
	cookie := func(want ...string) func(*testing.T, *gateway) {
		return func(t *testing.T, g *gateway) {
			first := g.expect(t, request{}, 200)
			set := first.header.Get("Set-Cookie")
			for _, part := range want {
				if !strings.Contains(set+";", part+";") && !strings.HasPrefix(set, part) {
					t.Errorf("Set-Cookie %q has no %s", set, part)
				}
			}
			pair, _, _ := strings.Cut(set, ";")
			g.sticks(t, first.echo.Server, map[string]string{"Cookie": "other=1; " + pair})
		}
	}
	lasting := gwv1.SessionPersistence{
		AbsoluteTimeout: new(gwv1.Duration("1h")),
		Cookie: &gwv1.CookieConfig{
			Name: new(gwv1.CookieName("cart")), Path: new("/"), LifetimeType: new(gwv1.PermanentCookieLifetimeType),
		},
	}
	return []scenario{
		with("cookie", gwv1.SessionPersistence{Cookie: &gwv1.CookieConfig{}}, cookie("sluice-session-", " Path=/")),
		with("permanent cookie", lasting, cookie("cart=", " Max-Age=3600", " Path=/")),
		with("header", gwv1.SessionPersistence{
			Type: new(gwv1.HeaderBasedSessionPersistence), Header: &gwv1.HeaderConfig{Name: "X-Session"},
		}, func(t *testing.T, g *gateway) {
			first := g.expect(t, request{}, 200)
			g.sticks(t, first.echo.Server, map[string]string{"X-Session": first.header.Get("X-Session")})
		}),
		with("endpoint gone", gwv1.SessionPersistence{Cookie: &gwv1.CookieConfig{Name: new(gwv1.CookieName("s"))}},
			func(t *testing.T, g *gateway) {
				g.expect(t, request{header: map[string]string{"Cookie": "s=MTAuMC4wLjE6MQ=="}}, 200)
			}),
	}
}

// sticks wants every request with the header to reach the server, and those without to be spread.
func (g *gateway) sticks(t *testing.T, server string, header map[string]string) {
	t.Helper()
	others := map[string]bool{}
	for range 6 {
		if got := g.expect(t, request{header: header}, http.StatusOK).echo.Server; got != server {
			t.Errorf("the session moved from server %s to %s", server, got)
		}
		others[g.expect(t, request{}, http.StatusOK).echo.Server] = true
	}
	if len(others) != 3 {
		t.Errorf("requests without a session reach %s, want all three", fmt.Sprint(others))
	}
}
