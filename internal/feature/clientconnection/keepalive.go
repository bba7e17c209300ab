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

// The names and the level of socket options where Envoy runs, on Linux (tcp(7), socket(7)).
const (
	soKeepalive = 9

	solTCP       = 6
	tcpKeepIdle  = 4
	tcpKeepIntvl = 5
	tcpKeepCount = 6
)

// Name returns the name of the policy's field.
func (Keepalive) Name() string { return model.KindClientTrafficPolicy + ".tcpKeepalive" }

// Check refuses what the kernel does not take: it counts in seconds.
func (Keepalive) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	policy.CheckKeepalive(&refused, a.Spec.(*egv1a1.TCPKeepalive))
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
	options := append(p.Proto.SocketOptions, policy.SocketOption(policy.SolSocket, soKeepalive, 1))
	for _, o := range []struct {
		name  int64
		value uint32
	}{
		{tcpKeepCount, policy.Or(spec.Probes, 0)},
		{tcpKeepIdle, inSeconds(spec.IdleTime)},
		{tcpKeepIntvl, inSeconds(spec.Interval)},
	} {
		if o.value > 0 {
			options = append(options, policy.SocketOption(solTCP, o.name, o.value))
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
