package model_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// hostile are names that Kubernetes allows (DNS-1123: [a-z0-9.-]) and that collide under a careless way of joining
// them: hyphens, dots and digits at the seams, names that look like ports, kinds or suffixes of ours.
var hostile = []string{
	"a", "b", "a-b", "a-b-c", "b-c", "c", "a.b", "a.b.c", "b.c", "a--b", "a-", "80", "443", "8080", "80-a", "a-80",
	"0", "http", "https", "service", "backend", "grpc", "a-grpc", "grpc-a", "h2c", "gateway", "default",
}

var (
	hostilePorts   = []uint16{0, 1, 80, 443, 8080, 8, 65535}
	hostileDomains = []string{"*", "*.a", "a", "a.b", "*.a.b", "80", "http", "a-b", "xn--a.b"}
)

// named is an identity and the name that Envoy, or people, know it by.
type named interface {
	comparable
	String() string
}

// injective fails the test if two of the keys that all yields have the same name.
func injective[K named](t *testing.T, all func(yield func(K) bool)) {
	t.Helper()
	seen := map[string]K{}
	for k := range all {
		if other, ok := seen[k.String()]; ok && other != k {
			t.Fatalf("%#v and %#v are both named %q", other, k, k)
		}
		seen[k.String()] = k
	}
	if len(seen) < 1000 {
		t.Errorf("only %d names were compared", len(seen))
	}
}

func names(yield func(model.Name) bool) {
	for _, ns := range hostile {
		for _, n := range hostile {
			if !yield(model.Name{Namespace: ns, Name: n}) {
				return
			}
		}
	}
}

func backends(yield func(model.BackendKey) bool) {
	for n := range names {
		for _, key := range hostile {
			if !yield(model.SecretValue(n, key)) {
				return
			}
		}
		for _, use := range []model.AppProtocol{model.AppHTTP, model.AppGRPC, model.AppUDP} {
			if !yield(model.BackendKey{Kind: model.KindBackend, Name: n, Use: use}) {
				return
			}
			for i, port := range hostilePorts {
				k := model.BackendKey{Kind: model.KindService, Name: n, Port: port, Use: use, Passthrough: i%2 == 0}
				if !yield(k) {
					return
				}
				k.Client = model.Name{Namespace: hostile[i], Name: hostile[2*i]}
				if !yield(k) {
					return
				}
			}
			for i, s := range hostileSettings(n) {
				k := model.BackendKey{Kind: model.KindService, Name: n, Port: hostilePorts[i], Use: use, Settings: s}
				if !yield(k) {
					return
				}
			}
		}
	}
}

// hostileSettings are settings of the policy of a name.
func hostileSettings(n model.Name) []model.SettingsKey {
	other := model.Name{Namespace: hostile[2], Name: hostile[3]}
	return []model.SettingsKey{
		model.Settings(model.KindBackendTrafficPolicy, n, model.Name{}, ""),
		model.Settings(model.KindBackendTrafficPolicy, n, other, ""),
		model.Settings(model.KindSecurityPolicy, n, other, "spec.extAuth.grpc.backendRefs[0]"),
		model.Settings(model.KindEnvoyExtensionPolicy, n, model.Name{}, "spec.extProc[1].backendRefs[0]"),
	}
}

// routeTables yields the tables of one proxy: what one Envoy sees.
func routeTables(yield func(model.RouteTableKey) bool) {
	for _, port := range hostilePorts {
		at := model.PortKey{Proxy: "p", Port: port}
		if !yield(model.HTTPTable(at)) {
			return
		}
		for n := range names {
			for _, listener := range hostile[:12] {
				for _, kind := range []string{model.KindGateway, model.KindListenerSet} {
					key := model.ListenerKey{Source: model.Ref{Group: model.GroupGateway, Kind: kind, Name: n}, Name: listener}
					if !yield(model.HTTPSTable(at, key)) {
						return
					}
				}
			}
		}
	}
}

func hosts(yield func(model.HostKey) bool) {
	for table := range routeTables {
		for _, domain := range hostileDomains {
			if !yield(model.HostKey{Table: table, Domain: domain}) {
				return
			}
		}
	}
}

// trusts yields the trust in one and in two objects that hold CA certificates.
func trusts(yield func(model.Trust) bool) {
	if !yield(model.SystemTrust) {
		return
	}
	for n := range names {
		bundles := []model.Ref{
			{Kind: model.KindConfigMap, Name: n}, {Kind: model.KindSecret, Name: n},
			{
				Group: model.GroupCertificates, Kind: model.KindClusterTrustBundle,
				Name: model.Name{Name: n.Name + ":" + n.Namespace},
			},
		}
		for i := range bundles {
			if !yield(model.TrustIn(bundles[i:i+1])) || !yield(model.TrustIn(bundles[:i+1])) {
				return
			}
		}
	}
}

func TestA01NamesAreInjective(t *testing.T) {
	t.Run("backends", func(t *testing.T) { injective(t, backends) })
	t.Run("trusts", func(t *testing.T) { injective(t, trusts) })
	t.Run("route tables", func(t *testing.T) { injective(t, routeTables) })
	t.Run("hosts", func(t *testing.T) { injective(t, hosts) })
}

// TestNames pins the names: dashboards, alerts and log queries are written against them.
func TestNames(t *testing.T) {
	shop := model.Name{Namespace: "shop", Name: "cart"}
	gateway := model.ListenerKey{Source: model.Ref{Kind: model.KindGateway, Name: shop}, Name: "web"}
	plain := model.HTTPTable(model.PortKey{Proxy: "p", Port: 80})
	class := model.Ref{Group: model.GroupGateway, Kind: model.KindGatewayClass, Name: model.Name{Name: "sluice"}}
	tests := []struct {
		key  fmt.Stringer
		want string
	}{
		{model.BackendKey{Kind: model.KindService, Name: shop, Port: 80}, "service/shop/cart/80"},
		{model.BackendKey{Kind: model.KindService, Name: shop, Port: 80, Use: model.AppGRPC}, "service/shop/cart/80~grpc"},
		{model.BackendKey{Kind: model.KindBackend, Name: shop}, "backend/shop/cart"},
		{model.BackendKey{Kind: model.KindBackend, Name: shop, Client: model.Name{Namespace: "a", Name: "b"}},
			"backend/shop/cart~client/a/b"},
		{model.BackendKey{Kind: model.KindBackend, Name: shop, Passthrough: true}, "backend/shop/cart~passthrough"},
		{model.SystemTrust, "ca:system"},
		{model.TrustIn([]model.Ref{{Kind: model.KindSecret, Name: shop}, {Kind: model.KindConfigMap, Name: shop}}),
			"ca:configmap/shop/cart,secret/shop/cart"},
		{model.PortKey{Proxy: "p", Port: 80}, "p:80"},
		{model.PortKey{Proxy: "p", Port: 53, Transport: model.OverUDP}, "p:53/udp"},
		{plain, "http/80"},
		{model.HTTPSTable(model.PortKey{Proxy: "p", Port: 443}, gateway), "https/443/shop/cart/web"},
		{model.HostKey{Table: plain, Domain: "*.a.example"}, "http/80/*.a.example"},
		{model.RouteKey{Kind: model.KindHTTPRoute, Name: shop}, "HTTPRoute/shop/cart"},
		{class, "GatewayClass/sluice"},
		{gateway, "shop/cart/web"},
	}
	for _, tt := range tests {
		if got := tt.key.String(); got != tt.want {
			t.Errorf("%#v is named %q, want %q", tt.key, got, tt.want)
		}
	}
}

// dns1123 makes a name of the characters that Kubernetes allows out of anything.
func dns1123(s string) string {
	name := strings.Map(func(r rune) rune {
		const allowed = "abcdefghijklmnopqrstuvwxyz0123456789.-"
		return rune(allowed[uint32(r)%uint32(len(allowed))])
	}, s)
	if name == "" {
		return "x"
	}
	return name
}

// FuzzNames compares two identities of each kind: they have the same name only if they are the same.
func FuzzNames(f *testing.F) {
	f.Add("a", "b-c", uint16(80), false, "w", "a-b", "c", uint16(80), true, "w")
	f.Add("a", "b.c", uint16(0), true, "80", "a.b", "c", uint16(443), false, "80.a")
	f.Fuzz(func(t *testing.T,
		ns1, name1 string, port1 uint16, flag1 bool, part1 string,
		ns2, name2 string, port2 uint16, flag2 bool, part2 string,
	) {
		b1, t1, h1 := identities(ns1, name1, port1, flag1, part1)
		b2, t2, h2 := identities(ns2, name2, port2, flag2, part2)
		same(t, b1, b2)
		same(t, t1, t2)
		same(t, h1, h2)
	})
}

func same[K named](t *testing.T, a, b K) {
	t.Helper()
	if equal := a == b; equal != (a.String() == b.String()) {
		t.Errorf("%#v and %#v: equal is %v, but their names are %q and %q", a, b, equal, a, b)
	}
}

// identities makes an identity of each kind. What flag says differs: the protocol of a backend, the kind of a table.
func identities(ns, name string, port uint16, flag bool, part string) (
	model.BackendKey, model.RouteTableKey, model.HostKey,
) {
	n := model.Name{Namespace: dns1123(ns), Name: dns1123(name)}
	backend := model.BackendKey{Kind: model.KindService, Name: n, Port: port}
	table := model.HTTPTable(model.PortKey{Proxy: "p", Port: port})
	if flag {
		backend.Use = model.AppGRPC
		source := model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: n}
		table = model.HTTPSTable(table.Port(), model.ListenerKey{Source: source, Name: dns1123(part)})
	}
	return backend, table, model.HostKey{Table: table, Domain: dns1123(part)}
}

// ordered is what the engine asks of a key.
type ordered[K any] interface {
	comparable
	Compare(K) int
}

// TestKeysAreInATotalOrder holds Compare to what the engine relies on: zero only for equal keys, the opposite when the
// keys are swapped, and the same sorted order from any start.
func TestKeysAreInATotalOrder(t *testing.T) {
	t.Run("backends", func(t *testing.T) { totalOrder(t, sample(backends)) })
	t.Run("route tables", func(t *testing.T) { totalOrder(t, sample(routeTables)) })
	t.Run("hosts", func(t *testing.T) { totalOrder(t, sample(hosts)) })
	t.Run("names", func(t *testing.T) { totalOrder(t, sample(names)) })
	t.Run("routes", func(t *testing.T) {
		var keys []model.RouteKey
		for _, n := range sample(names) {
			keys = append(keys, model.RouteKey{Kind: model.KindHTTPRoute, Name: n},
				model.RouteKey{Kind: model.KindGRPCRoute, Name: n})
		}
		totalOrder(t, keys)
	})
	t.Run("refs", func(t *testing.T) {
		var keys []model.Ref
		for _, n := range sample(names) {
			keys = append(keys, model.Ref{Kind: model.KindService, Name: n},
				model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: n})
		}
		totalOrder(t, keys)
	})
}

// sample returns some 150 of what all yields, spread evenly.
func sample[K any](all func(yield func(K) bool)) []K {
	every := slices.Collect(all)
	var out []K
	for i := 0; i < len(every); i += 1 + len(every)/150 {
		out = append(out, every[i])
	}
	return out
}

func totalOrder[K ordered[K]](t *testing.T, keys []K) {
	t.Helper()
	for _, a := range keys {
		for _, b := range keys {
			ab, ba := a.Compare(b), b.Compare(a)
			if (ab == 0) != (a == b) || (ab < 0) != (ba > 0) {
				t.Fatalf("%v to %v compares %d, the other way %d", a, b, ab, ba)
			}
		}
	}
	slices.SortFunc(keys, K.Compare)
	want := slices.Clone(keys)
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	slices.SortFunc(keys, K.Compare)
	if !slices.Equal(keys, want) {
		t.Error("the sorted order depends on where sorting starts")
	}
}
