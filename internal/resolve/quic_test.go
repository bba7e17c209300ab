package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

const http3 = "http3: {}"

// quicOptions are with a stand-in for the feature.
func quicOptions(o Options) Options {
	o.OverQUIC = func(a model.Attached) bool { return a.Feature == "ClientTrafficPolicy.http3" }
	return o
}

// quic says which listeners are reached by QUIC on which ports, and what the policy's status says.
func (w *world) quic(policy string) string {
	var out []string
	for port, listeners := range w.QUIC.All() {
		for _, l := range listeners {
			out = append(out, fmt.Sprintf("%s %s", port, l.Name))
		}
	}
	p, _ := w.Policies.Peek(envoyPolicyRef(model.KindClientTrafficPolicy, inDefault(policy)))
	for _, a := range p.Status.Ancestors {
		out = append(out, conditions(a.Conditions))
	}
	return strings.Join(out, "; ")
}

// TestQUIC: HTTPS listeners are reached by QUIC where their policy asks for it, on the UDP port of the same number,
// unless that is taken, cannot be bound, or the listener cannot have it.
func TestQUIC(t *testing.T) {
	const all = "local:443/udp https; Accepted"
	o := quicOptions(shared())
	o.CheckListener = func(a model.Attached, l *model.Listener, _ []string) status.Report {
		if l.Hostname != "strict.example" {
			return nil
		}
		return status.Report{{Condition: status.Accepted, Reason: "Invalid", Path: a.Path, Message: "It cannot"}}
	}
	strict := strings.NewReplacer("name: https", "name: strict, hostname: strict.example").Replace(httpsListener)
	gateway := gatewayYAML("gw", plainHTTP, httpsListener, strict,
		`{name: pass, port: 443, protocol: TLS, hostname: p.example, tls: {mode: Passthrough}}`)
	w := newWorld(t, o, classYAML, gateway, secretYAML(t, "cert"))
	expect(t, "without a policy", w.quic("c"), "")
	w.apply(clientPolicy("c", strings.Replace(toListener, "http}", "https}", 1), http3))
	expect(t, "one listener", w.quic("c"), all)
	w.apply(clientPolicy("c", toGateway, http3))
	expect(t, "all, of which one cannot", w.quic("c"), "local:443/udp https; Accepted=False/Invalid")
	w.apply(clientPolicy("c", strings.Replace(toListener, "http}", "https}", 1), http3))

	w.apply(gatewayYAML("udp", `{name: packets, port: 443, protocol: UDP}`))
	expect(t, "the port is taken", w.quic("c"), "Accepted=False/Conflicted")
	w.delete(model.GroupGateway, model.KindGateway, "default", "udp")
	expect(t, "the port is free again", w.quic("c"), all)

	port := model.PortKey{Proxy: "local", Port: 443, Transport: model.OverUDP}
	w.Unbound.Set(port, "it is in use")
	w.commit()
	expect(t, "the port cannot be bound", w.quic("c"), "Accepted=False/Conflicted")
	w.Unbound.Delete(port)
	w.commit()
	expect(t, "the port can be bound again", w.quic("c"), all)
}

// TestQUICPortOfAFleet: the Envoys have a UDP port for HTTP/3, and keep it while the certificate is missing.
func TestQUICPortOfAFleet(t *testing.T) {
	want := []FleetPort{
		{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 443, Protocol: corev1.ProtocolTCP},
		{Port: 443, Protocol: corev1.ProtocolUDP},
	}
	w := newWorld(t, quicOptions(fleets()), classYAML, gatewayYAML("gw", plainHTTP, httpsListener))
	if diff := cmp.Diff(want[:2], w.fleet("default/gw").Ports); diff != "" {
		t.Errorf("without HTTP/3: %s", diff)
	}
	w.apply(clientPolicy("c", toGateway, http3))
	if diff := cmp.Diff(want, w.fleet("default/gw").Ports); diff != "" {
		t.Errorf("with HTTP/3: %s", diff)
	}
	if n := w.QUIC.Len(); n != 0 {
		t.Errorf("without a certificate %d ports take connections", n)
	}
}
