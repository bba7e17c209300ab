package balancer

import "testing"

func TestRules(t *testing.T) {
	got := rules(map[string][]string{
		"172.30.1.11": {"172.30.0.11", "172.30.0.12"}, "172.30.1.10": {"172.30.0.12"}, "172.30.1.12": {},
	}, map[string]int{"172.30.0.11": 1000, "172.30.0.12": 1001})
	const want = `table ip balancer {}
delete table ip balancer
table ip balancer {
  chain choose {
    ip daddr 172.30.1.10 ct mark 0 ct mark set numgen inc mod 1 map { 0 : 1001 }
    ip daddr 172.30.1.10 meta mark set ct mark
    ip daddr 172.30.1.11 ct mark 0 ct mark set numgen inc mod 2 map { 0 : 1000, 1 : 1001 }
    ip daddr 172.30.1.11 meta mark set ct mark
  }
  chain own { type route hook output priority mangle; jump choose; }
  chain others { type filter hook prerouting priority mangle; jump choose; }
}
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
