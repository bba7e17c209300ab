package balancer

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The health check of a Service with the policy Local: how long kube-proxy may take to answer, and when it is asked
// again if a node did not pass.
const (
	checkTimeout = 300 * time.Millisecond
	checkAgain   = 200 * time.Millisecond
)

// checks ask the kube-proxies of nodes for the health of Services, as balancers outside of a cluster do: an endpoint is
// ready before the node that it is on has been told how to get there.
type checks struct {
	ctx    context.Context //nolint:containedctx // it lives for one reconciliation
	routes map[string][]string
	// failed says that some node did not pass, and has to be asked again.
	failed bool
}

// pass says whether a node takes what is sent to a Service. One that the Service is routed to has passed before; when
// it does not take any more, its endpoint is not ready.
func (c *checks) pass(service *corev1.Service, hop string) bool {
	port := service.Spec.HealthCheckNodePort
	if port == 0 || slices.Contains(c.routes[addressOf(service)], hop) {
		return true
	}
	ctx, cancel := context.WithTimeout(c.ctx, checkTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(hop, strconv.Itoa(int(port))) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return true // no check is possible
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.failed = true
		return false
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.failed = true
		return false
	}
	return true
}
