package resolve

import (
	"fmt"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// setYAML is a ListenerSet of a Gateway in the namespace default, with the given listeners.
func setYAML(namespace, name, gateway string, listeners ...string) string {
	s := strings.Replace(gatewayYAML(name, listeners...), "kind: Gateway", "kind: ListenerSet", 1)
	s = strings.Replace(s, "namespace: default", "namespace: "+namespace, 1)
	return strings.Replace(s, "gatewayClassName: sluice", "parentRef: {name: "+gateway+", namespace: default}", 1)
}

// allowing lets ListenerSets into a Gateway.
func allowing(gateway, namespaces string) string {
	return strings.Replace(gateway, "  listeners:", "  allowedListeners: {namespaces: {"+namespaces+"}}\n  listeners:", 1)
}

func host(name, hostname string) string {
	return fmt.Sprintf("{name: %s, port: 80, protocol: HTTP, hostname: %q}", name, hostname)
}

func secure(name, hostname, certificate string) string {
	return fmt.Sprintf("{name: %s, port: 443, protocol: HTTPS, hostname: %q, tls: {certificateRefs: [%s]}}",
		name, hostname, certificate)
}

// set renders the status of a ListenerSet as world.gateway does that of a Gateway.
func (w *world) set(namespace, name string) string {
	st, ok := w.ListenerSetStatus.Peek(model.Name{Namespace: namespace, Name: name})
	if !ok {
		return "none"
	}
	lines := []string{conditions(st.Conditions)}
	for _, l := range st.Listeners {
		lines = append(lines, listener(gwv1.ListenerStatus(l)))
	}
	return strings.Join(lines, "\n")
}

func (w *world) attachedSets(gateway string) int32 {
	st, _ := w.GatewayStatus.Peek(inDefault(gateway))
	if st.AttachedListenerSets == nil {
		return -1
	}
	return *st.AttachedListenerSets
}

const labelled = `
apiVersion: v1
kind: Namespace
metadata: {name: blue, labels: {team: blue}}
`

// TestAllowedListeners: a Gateway lets in the ListenerSets of the namespaces that it says, and none unless it says so.
func TestAllowedListeners(t *testing.T) {
	refused := "Accepted=False/NotAllowed Programmed=False/NotAllowed\n" +
		"x [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs Programmed=False/Pending"
	accepted := "Accepted\nx [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs"
	cases := map[string]struct {
		allow      string
		same, blue string
	}{
		"nothing is said":      {"", refused, refused},
		"None":                 {"from: None", refused, refused},
		"Same":                 {"from: Same", accepted, refused},
		"All":                  {"from: All", accepted, accepted},
		"Selector":             {"from: Selector, selector: {matchLabels: {team: blue}}", refused, accepted},
		"Selector of others":   {"from: Selector, selector: {matchLabels: {team: red}}", refused, refused},
		"Selector is missing":  {"from: Selector", refused, refused},
		"Selector is no valid": {"from: Selector, selector: {matchExpressions: [{key: a, operator: X}]}", refused, refused},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			gw := gatewayYAML("gw", host("own", "own.example"))
			if c.allow != "" {
				gw = allowing(gw, c.allow)
			}
			w := newWorld(t, options(), classYAML, gw, labelled,
				setYAML("default", "same", "gw", host("x", "same.example")),
				setYAML("blue", "set", "gw", host("x", "blue.example")))
			expect(t, "same namespace", w.set("default", "same"), c.same)
			expect(t, "other namespace", w.set("blue", "set"), c.blue)
			want := int32(strings.Count(c.same+c.blue, "Accepted\n"))
			if got := w.attachedSets("gw"); got != want {
				t.Errorf("%d ListenerSets are attached, want %d", got, want)
			}
			if n := w.Seats.Len(); n != int(want)+1 {
				t.Errorf("%d listeners are served, want %d", n, want+1)
			}
		})
	}
}

// TestListenerSetPrecedence: the Gateway's listeners come first, then those of the older ListenerSet, then of the one
// whose name does; a ListenerSet with one good listener is accepted.
func TestListenerSetPrecedence(t *testing.T) {
	const conflict = " [HTTPRoute,GRPCRoute] 0: Accepted=False/HostnameConflict ResolvedRefs " +
		"Conflicted=True/HostnameConflict Programmed=False/HostnameConflict"
	const good = " [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs"
	gw := allowing(gatewayYAML("gw", host("a", "gw.example")), "from: All")
	one := setYAML("default", "one", "gw",
		host("own", "one.example"), host("gw", "gw.example"), host("set", "set.example"))
	two := setYAML("default", "two", "gw", host("own", "two.example"), host("set", "set.example"))
	three := setYAML("blue", "three", "gw", host("gw", "gw.example"))
	w := newWorld(t, shared(), classYAML, gw, created(one, "01"), created(two, "02"), three)
	expect(t, "gateway", w.gateway(inDefault("gw")), "Accepted ResolvedRefs\na"+good)
	expect(t, "one", w.set("default", "one"), "Accepted=True/ListenersNotValid\nown"+good+"\ngw"+conflict+"\nset"+good)
	expect(t, "two", w.set("default", "two"), "Accepted=True/ListenersNotValid\nown"+good+"\nset"+conflict)
	expect(t, "three", w.set("blue", "three"),
		"Accepted=False/ListenersNotValid Programmed=False/ListenersNotValid\ngw"+conflict)
	if got := w.attachedSets("gw"); got != 2 {
		t.Errorf("%d ListenerSets are attached, want 2", got)
	}
	expect(t, "port", port80(w), "HTTP default/gw/a=gw.example listenerset/default/one/own=one.example "+
		"listenerset/default/one/set=set.example listenerset/default/two/own=two.example")

	w.apply(created(one, "03"))
	expect(t, "the older one", w.set("default", "two"), "Accepted\nown"+good+"\nset"+good)
	w.delete(model.GroupGateway, model.KindListenerSet, "default", "two")
	expect(t, "after the older is gone", w.set("default", "one"),
		"Accepted=True/ListenersNotValid\nown"+good+"\ngw"+conflict+"\nset"+good)
	w.delete(model.GroupGateway, model.KindGateway, "default", "gw")
	expect(t, "without the Gateway", w.set("default", "one"), "none")
	expect(t, "port without the Gateway", port80(w), "none")
	w.apply(gw)
	expect(t, "the Gateway after its ListenerSets", port80(w), "HTTP default/gw/a=gw.example "+
		"listenerset/default/one/own=one.example listenerset/default/one/set=set.example")
}

// TestListenerSetsBehindEveryGateway: where Gateways share a port, no ListenerSet takes a host from any of them.
func TestListenerSetsBehindEveryGateway(t *testing.T) {
	w := newWorld(t, shared(), classYAML, allowing(gatewayYAML("a", host("a", "a.example")), "from: All"),
		created(setYAML("default", "old", "a", host("x", "b.example")), "01"),
		created(gatewayYAML("b", host("b", "b.example")), "02"))
	expect(t, "port", port80(w), "HTTP default/a/a=a.example default/b/b=b.example")
}

// TestListenerSetProtocolConflict: what the port speaks is decided by the first, and the others that speak it are
// served.
func TestListenerSetProtocolConflict(t *testing.T) {
	w := newWorld(t, shared(), classYAML, secretYAML(t, "cert"),
		allowing(gatewayYAML("gw", host("a", "gw.example")), "from: Same"),
		setYAML("default", "set", "gw", host("x", "x.example"),
			strings.Replace(secure("tls", "t.example", "{name: cert}"), "443", "80", 1), host("z", "z.example")))
	expect(t, "set", w.set("default", "set"), `
		Accepted=True/ListenersNotValid
		x [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs
		tls [HTTPRoute,GRPCRoute] 0: Accepted=False/ProtocolConflict ResolvedRefs Conflicted=True/ProtocolConflict `+
		`Programmed=False/ProtocolConflict
		z [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs`)
}

// TestListenerSetGrants: certificates are relative to the namespace of the ListenerSet, and neither the Gateway nor its
// ListenerSets profit from each other's grants.
func TestListenerSetGrants(t *testing.T) {
	const far = "{name: cert, namespace: vault}"
	grant := func(kind, namespace string) string {
		return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: %s, namespace: vault}
spec: {from: [{group: gateway.networking.k8s.io, kind: %s, namespace: %s}], to: [{group: "", kind: Secret}]}
`, strings.ToLower(kind), kind, namespace)
	}
	w := newWorld(t, shared(), classYAML, labelled,
		strings.Replace(secretYAML(t, "cert"), "namespace: default", "namespace: vault", 1),
		strings.Replace(secretYAML(t, "own"), "namespace: default", "namespace: blue", 1),
		allowing(gatewayYAML("gw", secure("s", "gw.example", far)), "from: All"),
		setYAML("default", "near", "gw", secure("s", "near.example", far)),
		setYAML("blue", "far", "gw", secure("s", "far.example", far), secure("own", "own.example", "{name: own}")))
	const (
		refused = "s [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs=False/RefNotPermitted Programmed=False/Invalid"
		good    = "s [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs"
		none    = "Accepted=False/ListenersNotValid Programmed=False/ListenersNotValid\n"
	)
	expect(t, "near", w.set("default", "near"), none+refused)
	own := "\nown [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs"
	expect(t, "far", w.set("blue", "far"), "Accepted=True/ListenersNotValid\n"+refused+own)
	w.apply(grant("Gateway", "default"))
	expect(t, "near, with a grant for Gateways", w.set("default", "near"), none+refused)
	expect(t, "gateway, with its grant", w.gateway(inDefault("gw")), "Accepted ResolvedRefs\n"+good)
	w.delete(model.GroupGateway, model.KindReferenceGrant, "vault", "gateway")
	w.apply(grant("ListenerSet", "default"))
	expect(t, "near, with its grant", w.set("default", "near"), "Accepted\n"+good)
	expect(t, "far, with a grant for others", w.set("blue", "far"), "Accepted=True/ListenersNotValid\n"+refused+own)
	if st, _ := w.GatewayStatus.Peek(inDefault("gw")); conditions(st.Listeners[0].Conditions) !=
		"Accepted ResolvedRefs=False/RefNotPermitted Programmed=False/Invalid" {
		t.Errorf("the Gateway profits from the grant of its ListenerSet: %s", conditions(st.Listeners[0].Conditions))
	}
}

// TestRoutesOfListenerSets: a route is attached to what it names, the Gateway or the ListenerSet, and each parent has
// an outcome of its own.
func TestRoutesOfListenerSets(t *testing.T) {
	gw := allowing(gatewayYAML("gw", host("g", "gw.example")), "from: All")
	set := setYAML("blue", "set", "gw", host("s", "set.example"),
		strings.Replace(host("open", "open.example"), "80,", "80, allowedRoutes: {namespaces: {from: All}},", 1),
		strings.Replace(host("late", "late.example"), "80", "8080", 1))
	const toSet = "kind: ListenerSet, name: set, namespace: blue"
	w := newWorld(t, options(), classYAML, serviceYAML, labelled, gw, set,
		strings.Replace(serviceYAML, "namespace: default", "namespace: blue", 1),
		parentsYAML("default", "gateway", "[{name: gw}]"),
		parentsYAML("default", "wrong", "[{name: gw, sectionName: s}]"),
		parentsYAML("default", "both", "[{name: gw, sectionName: s}, {"+toSet+", sectionName: open}]"),
		parentsYAML("default", "guest", "[{"+toSet+", sectionName: s}]"),
		parentsYAML("blue", "all", "[{"+toSet+"}]"),
		parentsYAML("blue", "port", "[{"+toSet+", port: 8080}]"),
		parentsYAML("blue", "other", "[{kind: ListenerSet, name: gone}, {"+toSet+", sectionName: gone}]"))
	for route, want := range map[string]string{
		"default/gateway": "gw: Accepted ResolvedRefs",
		"default/wrong":   "gw/s: Accepted=False/NoMatchingParent ResolvedRefs",
		"default/both":    "gw/s: Accepted=False/NoMatchingParent ResolvedRefs\nset/open: Accepted ResolvedRefs",
		"default/guest":   "set/s: Accepted=False/NotAllowedByListeners ResolvedRefs",
		"blue/all":        "set: Accepted ResolvedRefs",
		"blue/port":       "set: Accepted ResolvedRefs",
		"blue/other":      "set/gone: Accepted=False/NoMatchingParent ResolvedRefs",
	} {
		namespace, name, _ := strings.Cut(route, "/")
		key := model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: namespace, Name: name}}
		expect(t, route, w.route(key), want)
	}
	expect(t, "gateway", w.gateway(inDefault("gw")),
		"Accepted ResolvedRefs\ng [HTTPRoute,GRPCRoute] 1: Accepted ResolvedRefs")
	expect(t, "set", w.set("blue", "set"), `
		Accepted
		s [HTTPRoute,GRPCRoute] 1: Accepted ResolvedRefs
		open [HTTPRoute,GRPCRoute] 2: Accepted ResolvedRefs
		late [HTTPRoute,GRPCRoute] 2: Accepted ResolvedRefs`)
	expect(t, "hosts", w.hosts(), `
		http/80/gw.example: gateway
		http/80/open.example: all both
		http/80/set.example: all
		http/8080/late.example: all port`)

	w.apply(gatewayYAML("gw", host("g", "gw.example")))
	expect(t, "hosts once the ListenerSet is not allowed", w.hosts(), "http/80/gw.example: gateway")
}

// TestParentNotAccepted: the ListenerSets of a Gateway that takes no traffic take none either.
func TestParentNotAccepted(t *testing.T) {
	gw := allowing(gatewayYAML("gw", plainHTTP), "from: All")
	set := setYAML("default", "set", "gw", host("x", "x.example"))
	w := newWorld(t, options(), classYAML, set,
		strings.Replace(gw, "  listeners:", "  addresses: [{value: 192.0.2.1}]\n  listeners:", 1))
	expect(t, "set", w.set("default", "set"), "Accepted=False/ParentNotAccepted Programmed=False/ParentNotAccepted\n"+
		"x [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs Programmed=False/Pending")
	if n := w.Ports.Len(); n != 0 {
		t.Errorf("%d ports are served", n)
	}
	w.apply(gw)
	expect(t, "set of an accepted Gateway", w.set("default", "set"),
		"Accepted\nx [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs")
	w.delete(model.GroupGateway, model.KindGatewayClass, "", "sluice")
	expect(t, "set of a Gateway that is not ours", w.set("default", "set"), "none")
}

// TestA04ConflictDisclosesNoOtherNamespace: the author of a ListenerSet learns that a host is taken, but not by whom if
// that is in a namespace which is not theirs.
func TestA04ConflictDisclosesNoOtherNamespace(t *testing.T) {
	w := newWorld(t, shared(), classYAML, allowing(gatewayYAML("gw", host("a", "gw.example")), "from: All"),
		setYAML("aaa", "hidden", "gw", host("secret", "x.example")),
		setYAML("blue", "set", "gw", host("x", "x.example"), host("g", "gw.example")))
	st, _ := w.ListenerSetStatus.Peek(model.Name{Namespace: "blue", Name: "set"})
	for i, want := range []string{
		"The listener of a ListenerSet in another namespace has the same port and no other hostname",
		"The listener default/gw/a has the same port and no other hostname",
	} {
		if got := st.Listeners[i].Conditions[0].Message; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestCostOfAListenerSet: with 1,000 ListenerSets on one port, an edit of a route, a ListenerSet or the Gateway
// recomputes what it touches and nothing for each of them.
func TestCostOfAListenerSet(t *testing.T) {
	const sets = 1000
	gw := allowing(gatewayYAML("gw", secure("own", "gw.example", "{name: cert}")), "from: All")
	w := newWorld(t, options(), classYAML, serviceYAML, secretYAML(t, "cert"), gw)
	set := func(i int, listener string) string {
		return setYAML("default", fmt.Sprintf("set%d", i), "gw", listener)
	}
	route := func(i int, path string) string {
		return strings.Replace(routeYAML(fmt.Sprintf("r%d", i), "",
			"{matches: [{path: {value: "+path+"}}], backendRefs: [{name: svc, port: 80}]}"),
			"{name: gw}", fmt.Sprintf("{kind: ListenerSet, name: set%d}", i), 1)
	}
	var all []string
	for i := range sets {
		all = append(all, set(i, secure("s", fmt.Sprintf("h%d.example", i), "{name: cert}")), route(i, "/"))
	}
	w.apply(all...)
	if got := w.attachedSets("gw"); got != sets {
		t.Fatalf("%d ListenerSets are attached", got)
	}
	steps := []struct {
		name string
		do   func() incr.Result
		want string
	}{
		{"edit a route", func() incr.Result { return w.apply(route(7, "/new")) },
			"routes 1/1, bindings 1/0, route status 1/0"},
		{"attach a route", func() incr.Result { return w.apply(strings.Replace(route(7, "/b"), "name: r7", "name: new", 1)) },
			"routes 1/1, selecting policies 1/0, bindings 1/1, listenerset status 1/1, " +
				"listenerset acceptance 1/0, route status 1/1"},
		{"another hostname", func() incr.Result { return w.apply(set(7, secure("s", "new.example", "{name: cert}"))) },
			"listenerset parents 1/0, listenersets 1/1, doors 1/1, sections 1/0, " +
				"listener policies 1/0, quic listeners 1/0, " +
				"contenders 1/1, arenas 1/0, owners 2/2, seats 1/1, ports 1/1, port accords 1/0, bindings 2/2, " +
				"listenerset status 1/0, route status 2/0"},
		{"remove one", func() incr.Result { return w.delete(model.GroupGateway, model.KindListenerSet, "default", "set8") },
			"listenerset parents 1/1, listenersets 1/1, doors 1/1, sections 1/1, policies of listener sources 1/0, " +
				"listener policies 1/0, quic listeners 1/0, contenders 1/1, arenas 1/0, owners 1/1, seats 1/1, ports 1/1, " +
				"port accords 1/0, " +
				"routes 1/1, selecting policies 1/0, bindings 1/1, listenerset status 1/1, " +
				"listenerset acceptance 1/1, gateway status 1/1, route status 1/1"},
		{"a listener of the Gateway", func() incr.Result {
			return w.apply(strings.Replace(gw, "gw.example", "other.example", 1))
		}, "own gateways 1/1, controllers 1/0, gateways 1/1, hosting gateways 1/0, doors 1/1, sections 1/0, " +
			"registries of gateways 1/0, listener policies 1/0, quic listeners 1/0, gateway policies 1/0, " +
			"contenders 1/1, arenas 1/0, owners 2/2, seats 1/1, ports 1/1, port accords 1/0, gateway status 1/0"},
		{"rotate their certificate", func() incr.Result { return w.apply(secretYAML(t, "cert")) },
			"certificate pairs 1/1, gateways 1/0, listenersets 999/0, certificates 1/1"},
	}
	for _, s := range steps {
		if got := work(s.do()); got != s.want {
			t.Errorf("%s recomputed\n%s\nwant\n%s", s.name, got, s.want)
		}
	}
}
