package resolve

import (
	"net/netip"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Gateway is a Gateway of one of our classes, and what is wrong with it.
type Gateway struct {
	model.Gateway
	// Created decides which of two Gateways keeps a port that both want: the older one. It is zero in files, where the
	// name alone decides.
	Created time.Time
	// Addresses are the specific addresses that the Gateway asks to be bound to; if there are none it is bound to all.
	Addresses []netip.Addr
	// Client is what the Gateway shows to backends that it connects to by TLS.
	Client model.ClientCertificate
	// Gear is what its proxies have and do.
	Gear model.Gear
	// Insecure says that some HTTPS port lets in clients whose certificates are not valid.
	Insecure bool
	Report   status.Report

	doors []*door
	// rejected is set if the Gateway as a whole takes no traffic.
	rejected bool
	infra    infrastructure
}

func (t *Tables) addGateways(e *incr.Engine) {
	t.Gateways = incr.NewTable(e, "gateways", t.gateway, t.ours)
}

// gatewayResolver resolves one Gateway.
type gatewayResolver struct {
	t   *Tables
	r   *incr.Reader
	gw  *gwv1.Gateway
	ref model.Ref
	out Gateway
}

func (t *Tables) gateway(r *incr.Reader, key model.Name) (Gateway, bool) {
	own, ok := incr.Get(r, t.ours, key)
	if !ok {
		return Gateway{}, false
	}
	v := &gatewayResolver{
		t: t, r: r, gw: own.Gateway,
		ref: gatewayRef(key),
		out: Gateway{
			Gateway: model.Gateway{Name: key},
			Created: own.Gateway.CreationTimestamp.UTC(),
		},
	}
	v.infrastructure(own.Class)
	v.addresses()
	v.out.rejected = len(v.out.Report) > 0
	v.out.Client, v.out.Insecure = v.clientCertificate(), insecureFallback(v.gw)
	v.out.Gear = gearOf(v.out.infra.Spec)
	source := &listenerSource{
		t: t, r: r, ref: v.ref, gateway: v.ref, tls: v.gw.Spec.TLS, client: v.out.Client, proxy: v.out.Proxy,
		gear: v.out.Gear, rejected: v.out.rejected,
	}
	for i := range v.gw.Spec.Listeners {
		source.add(&v.gw.Spec.Listeners[i])
	}
	v.out.Listeners, v.out.doors = source.listeners, source.doors
	v.out.Report = append(v.out.Report, source.report...)
	return v.out, true
}

// issue notes an issue with the Gateway as a whole: no listener of it takes traffic.
func (v *gatewayResolver) issue(condition, reason, path, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: v.ref, Condition: condition, Reason: reason, Path: path, Message: message,
	})
}
