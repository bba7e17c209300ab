package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// quicPort returns the UDP port on which clients reach the listeners of a TCP port by QUIC, or the other way round: the
// one of the same number.
func quicPort(port model.PortKey) model.PortKey {
	if port.Transport == model.OverUDP {
		port.Transport = model.OverTCP
	} else {
		port.Transport = model.OverUDP
	}
	return port
}

// addQUICDoors adds the listeners that policies want to be reached by QUIC too, valid or not. Fleets open ports for
// them: a certificate that is missing for a moment must not take a port out of a load balancer.
func (t *Tables) addQUICDoors(e *incr.Engine) {
	t.quicDoors = incr.NewTable(e, "quic listeners", func(r *incr.Reader, k model.ListenerKey) (model.PortKey, bool) {
		d, ok := incr.Get(r, t.doors, k)
		if !ok || d.Protocol != model.HTTPS || d.Foreign || t.opts.OverQUIC == nil {
			return model.PortKey{}, false
		}
		return quicPort(d.Port), slices.ContainsFunc(t.clientFields(r, k).Attached, t.opts.OverQUIC)
	}, t.doors)
	t.quicByProxy = incr.NewIndex(e, "quic ports by proxy", t.quicDoors,
		func(_ model.ListenerKey, port model.PortKey) []model.ProxyName { return []model.ProxyName{port.Proxy} })
}

// addQUIC adds the listeners that can be reached by QUIC.
func (t *Tables) addQUIC(e *incr.Engine) {
	byPort := incr.NewIndex(e, "quic listeners by port", t.quicDoors,
		func(_ model.ListenerKey, port model.PortKey) []model.PortKey { return []model.PortKey{port} })
	t.QUIC = incr.NewTable(e, "quic ports", func(r *incr.Reader, k model.PortKey) ([]model.ListenerKey, bool) {
		port, ok := incr.Get(r, t.Ports, quicPort(k))
		if !ok || t.quicTaken(r, k) != "" {
			return nil, false
		}
		var out []model.ListenerKey
		for i := range port.Listeners {
			l := &port.Listeners[i]
			if _, wanted := incr.Get(r, t.quicDoors, l.Key); !wanted {
				continue
			}
			list, denied := t.clientAsks(r, port, l)
			if denied == "" && slices.ContainsFunc(list, t.opts.OverQUIC) {
				out = append(out, l.Key)
			}
		}
		return out, len(out) > 0
	}, byPort)
}

// quicTaken returns why there is no QUIC on a UDP port, "" if there can be.
func (t *Tables) quicTaken(r *incr.Reader, port model.PortKey) string {
	if taken, ok := incr.Get(r, t.Ports, port); ok {
		return fmt.Sprintf("Listener %s has UDP port %d: give one of them another port", taken.Listeners[0].Key, port.Port)
	}
	if why, ok := incr.Get(r, t.Unbound, port); ok {
		return fmt.Sprintf("UDP port %d cannot be used: %s", port.Port, why)
	}
	return ""
}

// withoutQUIC returns an issue if a listener cannot be reached by QUIC, as its policy asks for.
func (t *Tables) withoutQUIC(
	r *incr.Reader, policy model.Ref, port model.PortKey, a model.Attached,
) status.Report {
	if t.opts.OverQUIC == nil || !t.opts.OverQUIC(a) {
		return nil
	}
	why := t.quicTaken(r, quicPort(port))
	if why == "" {
		return nil
	}
	return status.Report{{
		Object: policy, Condition: status.Accepted, Reason: string(gwv1.PolicyReasonConflicted), Path: a.Path, Message: why,
	}}
}
