package clientconnection

import (
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Keepalive is the feature of the field tcpKeepalive.
type Keepalive struct{}

var (
	_ feature.Checker     = Keepalive{}
	_ feature.PortApplier = Keepalive{}
)

// What Linux takes (net/ipv4/tcp.c: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT).
const (
	maxProbes    = 127
	maxKeepalive = 32767 * time.Second
)

// Name returns the name of the policy's field.
func (Keepalive) Name() string { return model.KindClientTrafficPolicy + ".tcpKeepalive" }

// Check refuses what the kernel does not take: it counts in seconds.
func (Keepalive) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.TCPKeepalive)
	var refused policy.Refusals
	if n := spec.Probes; n != nil && (*n < 1 || *n > maxProbes) {
		refused.Add(".probes", "The number %d is out of range: use 1 to %d", *n, maxProbes)
	}
	seconds := func(path string, d *gwv1.Duration) {
		if parsed := refused.Duration(path, d, time.Second); parsed%time.Second != 0 || parsed > maxKeepalive {
			refused.Add(path, "The duration %q is out of range: use whole seconds, at most %v", *d, maxKeepalive)
		}
	}
	seconds(".idleTime", spec.IdleTime)
	seconds(".interval", spec.Interval)
	return refused
}

// PortSettings returns how dead clients are found.
func (Keepalive) PortSettings(a model.Attached) string {
	spec := a.Spec.(*egv1a1.TCPKeepalive)
	return fmt.Sprintf("probes %d, idle %d s, interval %d s", policy.Or(spec.Probes, 0), inSeconds(spec.IdleTime),
		inSeconds(spec.Interval))
}

// ApplyPort has the kernel find out which clients are dead.
func (Keepalive) ApplyPort(p *feature.Port, a model.Attached) {
	spec := a.Spec.(*egv1a1.TCPKeepalive)
	options := append(p.Proto.SocketOptions, option(solSocket, soKeepalive, 1))
	for _, o := range []struct {
		name  int64
		value uint32
	}{
		{tcpKeepCount, policy.Or(spec.Probes, 0)},
		{tcpKeepIdle, inSeconds(spec.IdleTime)},
		{tcpKeepIntvl, inSeconds(spec.Interval)},
	} {
		if o.value > 0 {
			options = append(options, option(solTCP, o.name, o.value))
		}
	}
	p.Proto.SocketOptions = options
}

// inSeconds is 0 for nil.
func inSeconds(d *gwv1.Duration) uint32 {
	if d == nil {
		return 0
	}
	return uint32(duration.MustParse(*d) / time.Second) //nolint:gosec // checked
}
