package xds

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestScopeExpression has Envoy's expression and the function come to the same for any host, in any case, with a port.
func TestScopeExpression(t *testing.T) {
	var terms []*regexp.Regexp
	for _, m := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(scopeExpression, -1) {
		terms = append(terms, regexp.MustCompile(m[1]))
	}
	if len(terms) != scopeBits {
		t.Fatalf("%d terms in %s", len(terms), scopeExpression)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-."
	for range 5000 {
		host := make([]byte, 1+random.IntN(60))
		for i := range host {
			host[i] = letters[random.IntN(len(letters))]
		}
		want := scopeOf(string(host))
		for _, asked := range []string{string(host), strings.ToUpper(string(host)), string(host) + ":8443"} {
			var got uint8
			for bit, even := range terms {
				if !even.MatchString(asked) {
					got |= 1 << bit
				}
			}
			if got != want {
				t.Fatalf("Envoy finds %s in scope %d, it is in %d", asked, got, want)
			}
		}
	}
}

// TestScopesAreEven has hosts of the kinds that there are many of spread over the scopes.
func TestScopesAreEven(t *testing.T) {
	for _, format := range []string{"app-%d.example.com", "www.customer%d.com", "%08x.dev.test", "t%05d.ns-7.svc"} {
		const n = 4000
		var count [numScopes]int
		for i := range n {
			count[scopeOf(fmt.Sprintf(format, i*7919%n))]++
		}
		if most := slices.Max(count[:]); most > 2*n/numScopes {
			t.Errorf("%s: %d of %d hosts are in one of %d scopes: %v", format, most, n, numScopes, count)
		}
	}
}
