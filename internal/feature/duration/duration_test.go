package duration

import (
	"testing"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestParse(t *testing.T) {
	valid := map[gwv1.Duration]time.Duration{
		"0s": 0, "1ms": time.Millisecond, "1m30s": 90 * time.Second, "10s10s": 20 * time.Second,
		"99999h99999h99999h99999h": 4 * 99999 * time.Hour,
	}
	for in, want := range valid {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []gwv1.Duration{"", "1", "-1s", "1.5s", "1us", "1d", "100000s", "1h1h1h1h1h", "1s "} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", in, got)
		}
	}
}
