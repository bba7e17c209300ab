package envoy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Domains that no route serves still belong to a listener: 404 from the most specific one, 421 on a connection that
// was opened for another.
func TestOwnedHosts(t *testing.T) {
	key := model.PortKey{Proxy: "p", Port: 443}
	listen := func(names ...string) []model.Listener {
		var out []model.Listener
		for _, n := range names {
			out = append(out, model.Listener{Hostname: n, Key: model.ListenerKey{Name: "l" + n}})
		}
		return out
	}
	cases := map[string]struct {
		protocol  model.Protocol
		listeners []model.Listener
		want      []string
	}{
		"http": {
			model.HTTP, listen("a.example.com", "*.example.com", ""),
			[]string{"http/443/*", "http/443/*.example.com", "http/443/a.example.com"},
		},
		"https": {
			model.HTTPS, listen("a.example.com", "*.example.com", ""),
			[]string{
				"l* 404", "l*.example.com 421", "la.example.com 421", // of the listener that takes every host
				"l*.example.com* 421", "l*.example.com*.example.com 404", "l*.example.coma.example.com 421",
				"la.example.com* 421", "la.example.coma.example.com 404",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			port := model.Port{Key: key, Protocol: c.protocol, Listeners: c.listeners}
			var got []string
			for _, k := range ownedHosts(port) {
				if c.protocol == model.HTTP {
					got = append(got, k.String())
					continue
				}
				status := " 421"
				if own := strings.TrimPrefix(k.Table.Listener().Name, "l"); ownsDomain(own, k.Domain) {
					status = " 404"
				}
				got = append(got, k.Table.Listener().Name+k.Domain+status)
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	cases := []struct {
		hostname, specific string
		want               bool
	}{
		{"", "a.example.com", true},
		{"", "", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "*.a.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "badexample.com", false},
		{"*.example.com", "*.example.com", false},
		{"*.a.example.com", "*.example.com", false},
		{"a.example.com", "b.example.com", false},
		{"a.example.com", "", false},
	}
	for _, c := range cases {
		if got := covers(c.hostname, c.specific); got != c.want {
			t.Errorf("covers(%q, %q) = %v", c.hostname, c.specific, got)
		}
	}
}
