package e2e

import (
	"math"
	"strconv"
	"testing"
)

// TestWeight checks shares of the traffic. A share is accepted within 5.5 standard deviations of a binomial
// distribution: one run in 10 million is wrong by chance.
func TestWeight(t *testing.T) {
	t.Parallel()
	const requests = 1500
	const missing = "group: gateway.envoyproxy.io, kind: Backend, name: missing"
	tests := []struct {
		name     string
		backends string
		want     map[string]float64 // Share by backend or status.
	}{
		{"equal", "[{${one}}, {${two}}]", map[string]float64{"one": 0.5, "two": 0.5}},
		{"weighted", "[{${one}, weight: 7}, {${two}, weight: 2}, {${three}, weight: 1}]",
			map[string]float64{"one": 0.7, "two": 0.2, "three": 0.1}},
		{"zero", "[{${one}, weight: 0}, {${two}, weight: 3}]", map[string]float64{"two": 1}},
		{"all-zero", "[{${one}, weight: 0}]", map[string]float64{"500": 1}},
		{"invalid-share", "[{${one}, weight: 3}, {" + missing + ", weight: 1}]",
			map[string]float64{"one": 0.75, "500": 0.25}},
		{"invalid-zero", "[{${one}}, {" + missing + ", weight: 0}]", map[string]float64{"one": 1}},
		{"only-invalid", "[{" + missing + "}]", map[string]float64{"500": 1}},
		{"same-twice", "[{${one}}, {${one}}, {${two}}]", map[string]float64{"one": 2. / 3, "two": 1. / 3}},
		{"huge", "[{${one}, weight: 1000000}, {${two}, weight: 1000000}]", map[string]float64{"one": 0.5, "two": 0.5}},
	}
	f := files{}
	for _, tt := range tests {
		f[tt.name+".yaml"] = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + tt.name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + tt.name + `.example]
  rules: [{backendRefs: ` + tt.backends + `}]
`
	}
	in := start(t, f)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := requests
			if len(tt.want) == 1 {
				n = 50 // There is nothing to count.
			}
			got := in.shares(t, request{host: tt.name + ".example"}, n)
			checkShares(t, got, n, tt.want)
		})
	}
}

// shares counts who answers, by the name of the backend or else by status.
func (in *instance) shares(t *testing.T, r request, requests int) map[string]int {
	t.Helper()
	client := in.client(r)
	defer client.CloseIdleConnections()
	got := map[string]int{}
	for range requests {
		a, err := in.sendOn(t.Context(), client, r)
		if err != nil {
			t.Fatal(err)
		}
		who := a.echo.Name
		if a.status != 200 {
			who = strconv.Itoa(a.status)
		}
		got[who]++
	}
	return got
}

func checkShares(t *testing.T, got map[string]int, n int, want map[string]float64) {
	t.Helper()
	for who, share := range want {
		mean := share * float64(n)
		if off := math.Abs(float64(got[who]) - mean); off > 5.5*math.Sqrt(mean*(1-share)) {
			t.Errorf("%s answered %d of %d requests, want about %.0f (all: %v)", who, got[who], n, mean, got)
		}
	}
	for who := range got {
		if _, ok := want[who]; !ok {
			t.Errorf("%s answered %d of %d requests, want none", who, got[who], n)
		}
	}
}
