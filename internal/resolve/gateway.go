package resolve

import (
	"fmt"
	"net/netip"
	"strings"
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
	Report    status.Report

	doors []*door
	// rejected is set if the Gateway as a whole takes no traffic.
	rejected bool
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
			Gateway: model.Gateway{Name: key, Proxy: t.opts.Proxy(key)},
			Created: own.Gateway.CreationTimestamp.UTC(),
		},
	}
	if own.Class.Problem != "" {
		v.issue(status.Accepted, status.ReasonInvalidParameters, "spec.gatewayClassName",
			"The GatewayClass is not accepted: "+own.Class.Problem)
	}
	v.parameters()
	v.addresses()
	v.out.rejected = len(v.out.Report) > 0
	source := &listenerSource{
		t: t, r: r, ref: v.ref, gateway: v.ref, tls: v.gw.Spec.TLS, proxy: v.out.Proxy, rejected: v.out.rejected,
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

// parameters refuses infrastructure parameters: no kind of parameters is read yet, and what they say may well be a
// restriction.
func (v *gatewayResolver) parameters() {
	if infra := v.gw.Spec.Infrastructure; infra != nil && infra.ParametersRef != nil {
		ref := infra.ParametersRef
		v.issue(status.Accepted, status.ReasonInvalidParameters, "spec.infrastructure.parametersRef",
			fmt.Sprintf("%s %q cannot be used as parameters: this version of Sluice reads none; remove the reference",
				ref.Kind, ref.Name))
	}
}

// addresses resolves spec.addresses. A type that is not supported means that the Gateway is not accepted; an address
// that cannot be bound that it is accepted but not programmed. Neither takes traffic: to bind to all addresses instead
// would expose more than was asked for.
func (v *gatewayResolver) addresses() {
	for i, a := range v.gw.Spec.Addresses {
		path := fmt.Sprintf("spec.addresses[%d]", i)
		if typ := deref(a.Type, gwv1.IPAddressType); typ != gwv1.IPAddressType {
			v.issue(status.Accepted, string(gwv1.GatewayReasonUnsupportedAddress), path+".type",
				fmt.Sprintf("Addresses of type %q are not supported: use IPAddress", typ))
			continue
		}
		if a.Routability != gwv1.GatewayAddressRoutabilityDefault {
			v.issue(status.Programmed, string(gwv1.GatewayReasonAddressNotUsable), path+".routability",
				fmt.Sprintf("Routability %q is not supported: remove it", a.Routability))
			continue
		}
		if a.Value == "" {
			continue
		}
		ip, err := netip.ParseAddr(strings.TrimSpace(a.Value))
		switch {
		case err == nil && ip.IsUnspecified():
		case err == nil && v.t.opts.Usable != nil && v.t.opts.Usable(ip):
			v.out.Addresses = append(v.out.Addresses, ip)
		default:
			v.issue(status.Programmed, string(gwv1.GatewayReasonAddressNotUsable), path+".value",
				fmt.Sprintf("The address %q cannot be bound: remove it to listen on all addresses", a.Value))
		}
	}
}
