package fleet

import (
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Drain is how an Envoy goes, from EnvoyProxySpec.shutdown. As JSON, durations are nanoseconds.
type Drain struct {
	// Timeout is after which it ends, whatever is still in flight.
	Timeout time.Duration `json:"timeout"`
	// Min is how long it takes new connections at least: until every node and load balancer knows that the pod is going.
	Min time.Duration `json:"min"`
	// HealthDelay is after which its health check fails.
	HealthDelay time.Duration `json:"healthDelay"`
}

// Quiet is how long no new connection may have come before Envoy ends: half of Min. As long as no other pod is ready,
// nodes go on sending connections to one that is going, and each of them begins the wait anew.
func (d Drain) Quiet() time.Duration { return d.Min / 2 }

// DrainOf returns how an Envoy goes that an EnvoyProxy, which may be nil, says something about: what it does not say is
// as in unless. The error names the field.
func DrainOf(spec *egv1a1.EnvoyProxySpec, unless Drain) (Drain, error) {
	out := unless
	if spec == nil || spec.Shutdown == nil {
		return out, nil
	}
	s := spec.Shutdown
	for _, f := range []struct {
		name string
		from *gwv1.Duration
		to   *time.Duration
	}{
		{"drainTimeout", s.DrainTimeout, &out.Timeout},
		{"minDrainDuration", s.MinDrainDuration, &out.Min},
		{"healthCheckFailureDelay", s.HealthCheckFailureDelay, &out.HealthDelay},
	} {
		if f.from == nil {
			continue
		}
		d, err := time.ParseDuration(string(*f.from))
		if err != nil {
			return out, fmt.Errorf("spec.shutdown.%s: %w", f.name, err)
		}
		*f.to = d
	}
	if out.Timeout < out.Min {
		return out, fmt.Errorf("spec.shutdown.drainTimeout (%s) is shorter than minDrainDuration (%s)", out.Timeout, out.Min)
	}
	return out, nil
}
