package authorization

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func byAddress(do egv1a1.AuthorizationAction, ranges ...egv1a1.CIDR) egv1a1.AuthorizationRule {
	return egv1a1.AuthorizationRule{Action: do, Principal: &egv1a1.Principal{ClientCIDRs: ranges}}
}

func TestSources(t *testing.T) {
	const deny = egv1a1.AuthorizationActionDeny
	narrow := byAddress(allow, "10.0.0.0/8")
	narrow.Principal.Headers = []egv1a1.AuthorizationHeaderMatch{{Name: "x-a", Values: []string{"a"}}}
	odd := byAddress(deny, "10.1.0.0/16")
	odd.CEL = new(egv1a1.CELExpression("true"))
	tests := []struct {
		name      string
		rules     []egv1a1.AuthorizationRule
		otherwise egv1a1.AuthorizationAction
		want      string
	}{
		{"nobody", nil, deny, ""},
		{"everybody", nil, allow, "0.0.0.0/0 ::/0"},
		{"some", []egv1a1.AuthorizationRule{byAddress(allow, "10.0.0.0/8", "2001:db8::/32")}, deny,
			"10.0.0.0/8 2001:db8::/32"},
		{"all but some", []egv1a1.AuthorizationRule{byAddress(deny, "0.0.0.0/2", "::/1")}, allow,
			"64.0.0.0/2 128.0.0.0/1 8000::/1"},
		{"the first rule decides", []egv1a1.AuthorizationRule{
			byAddress(allow, "10.0.0.0/32"), byAddress(deny, "10.0.0.0/31"), byAddress(allow, "10.0.0.0/30"),
		}, deny, "10.0.0.0/32 10.0.0.2/31"},
		{"what is the same is one", []egv1a1.AuthorizationRule{
			byAddress(allow, "10.0.0.0/9"), byAddress(allow, "10.0.0.0/8"),
		}, deny, "10.0.0.0/8"},
		{"who is let in by more than an address is not", []egv1a1.AuthorizationRule{narrow}, deny, ""},
		{"who is denied by more than an address is", []egv1a1.AuthorizationRule{odd, byAddress(allow, "10.0.0.0/15")},
			deny, "10.0.0.0/16"},
		{"who is denied by anything but an address is", []egv1a1.AuthorizationRule{celOf("true"), {Action: deny}}, allow, ""},
	}
	for _, tt := range tests {
		spec := &egv1a1.Authorization{Rules: tt.rules, DefaultAction: &tt.otherwise}
		got := strings.Trim(fmt.Sprint(Feature{}.Sources(model.Attached{Spec: spec})), "[]")
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestSourcesOfAnyRules compares with the rules themselves, address by address.
func TestSourcesOfAnyRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		spec := &egv1a1.Authorization{}
		for range 1 + random.IntN(6) {
			do := allow
			if random.IntN(2) == 0 {
				do = egv1a1.AuthorizationActionDeny
			}
			spec.Rules = append(spec.Rules, byAddress(do,
				egv1a1.CIDR(fmt.Sprintf("10.0.0.%d/%d", random.IntN(256), 22+random.IntN(11)))))
		}
		got := Feature{}.Sources(model.Attached{Spec: spec})
		for host := range 256 {
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(host)})
			in := slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Contains(ip) })
			want := false
			for _, rule := range spec.Rules {
				if p := netip.MustParsePrefix(string(rule.Principal.ClientCIDRs[0])); p.Contains(ip) {
					want = rule.Action == allow
					break
				}
			}
			if in != want {
				t.Fatalf("%s is let in: %v, want %v, by %v", ip, in, want, spec.Rules)
			}
		}
	}
}

func TestCheckStream(t *testing.T) {
	for _, tt := range []struct {
		rule egv1a1.AuthorizationRule
		want string
	}{
		{byAddress(allow, "10.0.0.0/8"), ""},
		{claimOf("sub", "a"), "clientCIDRs alone"},
		{celOf("true"), "clientCIDRs alone"},
		{to(egv1a1.PathMatch{Value: "/"}), "clientCIDRs alone"},
		{egv1a1.AuthorizationRule{Action: allow}, "clientCIDRs alone"},
	} {
		spec := &egv1a1.Authorization{Rules: []egv1a1.AuthorizationRule{tt.rule}}
		featuretest.Expect(t, Feature{}.CheckStream(model.Attached{Spec: spec}), tt.want)
	}
}
