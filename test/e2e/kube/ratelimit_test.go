package kube

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// TestGlobalRateLimit has two Envoys share a limit: they count with the service that the chart installs.
func TestGlobalRateLimit(t *testing.T) {
	const limit, requests = 5, 12
	w := begin(t)
	address := w.quickstart(2)
	w.apply(fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: limit, namespace: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: one}]
  rateLimit:
    global:
      rules:
      - clientSelectors: [{headers: [{name: x-user, type: Distinct}]}]
        limit: {requests: %d, unit: Hour}
`, w.ns, limit))
	try := 0
	w.eventually("both Envoys to keep the limit together", func() error {
		try++
		let := 0
		for range requests {
			status, err := w.askAs(address, "one.example", fmt.Sprint("user-", try))
			switch {
			case err != nil:
				return err
			case status == http.StatusOK:
				let++
			case status != http.StatusTooManyRequests:
				return fmt.Errorf("status %d", status)
			}
		}
		if let != limit {
			return fmt.Errorf("%d of %d requests were let in, want %d", let, requests, limit)
		}
		return nil
	})
}

// askAs asks on a connection of its own, as a user.
func (w *world) askAs(address, host, user string) (int, error) {
	conn := load.NewConn(withPort(address))
	conn.Use(w.Dial, "")
	defer conn.Close()
	return conn.Do(load.NewRequest(host, "/", map[string]string{"x-user": user}))
}
