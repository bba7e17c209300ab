package resolve

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// created gives a Gateway an age: the day of January 2026.
func created(gateway, day string) string {
	return strings.Replace(gateway, "metadata: {", "metadata: {creationTimestamp: 2026-01-"+day+"T00:00:00Z, ", 1)
}

func port80(w *world) string {
	p, ok := w.Ports.Peek(model.PortKey{Proxy: "local", Port: 80})
	if !ok {
		return "none"
	}
	out := []string{string(p.Protocol)}
	for _, l := range p.Listeners {
		out = append(out, l.Key.String()+"="+l.Hostname)
	}
	return strings.Join(out, " ")
}

func TestOlderGatewayKeepsThePort(t *testing.T) {
	a := gatewayYAML("a", plainHTTP, `{name: x, port: 80, protocol: HTTP, hostname: x.example.com}`)
	b := gatewayYAML("b", plainHTTP, `{name: other, port: 80, protocol: HTTP, hostname: y.example.com}`)
	w := newWorld(t, shared(), classYAML, created(a, "02"), created(b, "01"))
	expect(t, "port", port80(w), "HTTP default/a/x=x.example.com default/b/other=y.example.com default/b/http=")
	expect(t, "the younger", w.gateway(inDefault("a")), "Accepted=True/ListenersNotValid ResolvedRefs\n"+
		"http [HTTPRoute,GRPCRoute] 0: Accepted=False/HostnameConflict ResolvedRefs "+
		"Conflicted=True/HostnameConflict Programmed=False/HostnameConflict\n"+
		"x [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs")

	w.apply(a, b)
	expect(t, "without ages the name decides", port80(w),
		"HTTP default/a/x=x.example.com default/b/other=y.example.com default/a/http=")

	w.delete(model.GroupGateway, model.KindGateway, "default", "a")
	expect(t, "after the first is gone", port80(w), "HTTP default/b/other=y.example.com default/b/http=")
}

func TestProtocolConflictBetweenGateways(t *testing.T) {
	w := newWorld(t, shared(), classYAML, secretYAML(t, "cert"), gatewayYAML("a", plainHTTP),
		gatewayYAML("b", `{name: s, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}`))
	expect(t, "port", port80(w), "HTTP default/a/http=")
	winner := model.ListenerKey{Source: gatewayRef(inDefault("a")), Name: "http"}
	want := model.Conflict{Reason: "ProtocolConflict", With: winner}
	loser := model.ListenerKey{Source: gatewayRef(inDefault("b")), Name: "s"}
	if s, ok := w.Seats.Peek(loser); !ok || s.Conflict == nil || *s.Conflict != want {
		t.Errorf("%s: %+v, want the conflict %+v", loser, s, want)
	}
}

func TestUnboundPortDisturbsNoOther(t *testing.T) {
	w := newWorld(t, shared(), classYAML, serviceYAML, routeYAML("r", "", toService),
		gatewayYAML("gw", plainHTTP, `{name: high, port: 8080, protocol: HTTP}`))
	key := model.PortKey{Proxy: "local", Port: 80}
	w.Unbound.Set(key, "Port 80 needs a privilege: run as root or choose a port above 1023")
	res := w.commit()
	expect(t, "port", port80(w), "none")
	if _, ok := w.Ports.Peek(model.PortKey{Proxy: "local", Port: 8080}); !ok {
		t.Error("port 8080 is gone too")
	}
	expect(t, "status", w.gateway(inDefault("gw")), `
		Accepted=True/ListenersNotValid ResolvedRefs
		http [HTTPRoute,GRPCRoute] 1: Accepted=False/PortUnavailable ResolvedRefs Programmed=False/Invalid
		high [HTTPRoute,GRPCRoute] 1: Accepted ResolvedRefs`)
	if n := res.Recomputed(); n != 3 {
		t.Errorf("recomputed %d keys, want the port, what its policies agree on, and the status: %v", n, res.Tables)
	}
	w.Unbound.Delete(key)
	w.commit()
	expect(t, "port, freed", port80(w), "HTTP default/gw/http=")
}
