package kube

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// reference is one kind of reference from an object of the test's namespace to one of another namespace.
type reference struct {
	name string
	// from and to are GROUP/KIND as a ReferenceGrant has them.
	from, to string
	// path is the object that has the reference, at the API server; listener is where its condition is, if not at the
	// object's parents or at itself.
	path, listener string
	// closed and open check the traffic without and with a grant; nil where there is none to see.
	closed, open func() error
}

const (
	gatewayGroup = "gateway.networking.k8s.io"
	extended     = "gateway.networking.x-k8s.io"
)

// TestA03GrantsOnKubernetes makes every kind of reference to another namespace: refused without a ReferenceGrant, in
// words and in traffic, right with one, and refused again without it.
func TestA03GrantsOnKubernetes(t *testing.T) {
	w := begin(t)
	to := w.namespace("-to")
	for _, ns := range []string{w.ns, to} {
		w.secret(ns, "web", newCertificate(t, "web.example", 1))
	}
	client := newCertificate(t, "client.example", 2)
	w.apply(backend(to, "one", 1) + backend(to, "auth", 1) + backend(w.ns, "own", 1) + xbackend(to, "x", "one") +
		datagrams(to) + configMap(to, "clients", client) + proxy(w.ns, "{envoyDeployment: {replicas: 1}}") +
		referring(w.ns, to) + referringRoutes(w.ns, to))
	address := ""
	w.eventually("an address", func() error {
		g, err := w.gatewayObject(w.ns, "gateway")
		if err == nil && len(g.Status.Addresses) == 0 {
			err = errors.New("there is none")
		}
		if err == nil {
			address = g.Status.Addresses[0].Value
		}
		return err
	})
	w.answers(address, "own.example", "own")

	all := w.references(address, client.pair(t))
	w.expectReferences(all, false)
	grants := ""
	for i, r := range all {
		grants += grant(to, i, r, w.ns)
	}
	w.apply(grants)
	w.expectReferences(all, true)
	w.kubectl("-n", to, "delete", "referencegrants", "--all")
	w.expectReferences(all, false)
	if err := w.answered(address, "own.example", "own"); err != nil {
		t.Errorf("what refers to nothing foreign: %v", err)
	}
}

// expectReferences waits until each reference is refused, or taken, in its status and in its traffic.
func (w *world) expectReferences(all []reference, granted bool) {
	w.t.Helper()
	for _, r := range all {
		check, word := r.closed, "refused"
		if granted {
			check, word = r.open, "taken"
		}
		w.eventually(r.name+" to be "+word, func() error {
			if err := w.resolved(r, granted); err != nil || check == nil {
				return err
			}
			return check()
		})
	}
}

// references are all kinds, with what is to be seen of them at the Gateway's address.
func (w *world) references(address string, client tls.Certificate) []reference {
	routeTo := func(name, kind, to string) reference {
		path := "/apis/" + gatewayGroup + "/v1/namespaces/" + w.ns + "/" + strings.ToLower(kind) + "s/" + name
		return reference{name: kind + " " + name, from: gatewayGroup + "/" + kind, to: to, path: path}
	}
	served := func(r reference, host string) reference {
		r.closed = func() error { return w.status(address, host, 500) }
		r.open = func() error { return w.status(address, host, 200) }
		return r
	}
	tcp := routeTo("tcp", "TCPRoute", "/Service")
	tcp.closed = func() error { return w.refused(net.JoinHostPort(address, "9000")) }
	tcp.open = func() error { return w.answered(net.JoinHostPort(address, "9000"), "tcp.example", "one") }
	tlsRoute := routeTo("tls", "TLSRoute", "/Service")
	passed := func(want bool) func() error {
		return func() error { return w.passedThrough(net.JoinHostPort(address, "8443"), want) }
	}
	tlsRoute.closed, tlsRoute.open = passed(false), passed(true)
	mirror := routeTo("mirror", "HTTPRoute", "/Service")
	gateway := gatewayPath(w.ns, "gateway")
	set := "/apis/" + gatewayGroup + "/v1/namespaces/" + w.ns + "/listenersets/set"
	return []reference{
		served(routeTo("backend", "HTTPRoute", "/Service"), "backend.example"),
		served(routeTo("auth", "HTTPRoute", "/Service"), "auth.example"),
		served(routeTo("xbackend", "HTTPRoute", extended+"/XBackend"), "xbackend.example"),
		mirror, tcp, tlsRoute, routeTo("udp", "UDPRoute", "/Service"), routeTo("grpc", "GRPCRoute", "/Service"),
		w.secured(reference{
			name: "the certificate of a listener", from: gatewayGroup + "/Gateway", to: "/Secret", path: gateway,
			listener: "foreign",
		}, net.JoinHostPort(address, "443")),
		w.secured(reference{
			name: "the CA of clients", from: gatewayGroup + "/Gateway", to: "/ConfigMap", path: gateway,
			listener: "clients",
		}, net.JoinHostPort(address, "444"), client),
		w.secured(reference{
			name: "the certificate of a ListenerSet", from: gatewayGroup + "/ListenerSet", to: "/Secret", path: set,
			listener: "set",
		}, net.JoinHostPort(address, "445")),
		{
			name: "the certificate for backends", from: gatewayGroup + "/Gateway", to: "/Secret",
			path: gatewayPath(w.ns, "second"),
		},
	}
}

// secured adds what is to be seen of a listener with TLS: no handshake, or an answer.
func (w *world) secured(r reference, address string, own ...tls.Certificate) reference {
	ask := func() (int, error) {
		status, _, err := w.askTLS(address, "web.example", own...)
		return status, err
	}
	r.closed = func() error {
		if status, err := ask(); err == nil {
			return fmt.Errorf("it is answered with %d", status)
		}
		return nil
	}
	r.open = func() error {
		status, err := ask()
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	return r
}

// status says what a host is answered with if not with a status.
func (w *world) status(address, host string, want int) error {
	got, err := w.ask(address, host, "/", "")
	if err == nil && got != want {
		err = fmt.Errorf("status %d, want %d", got, want)
	}
	return err
}

// refused says whether somebody answers at an address.
func (w *world) refused(address string) error {
	if status, err := w.ask(address, "tcp.example", "/", ""); err == nil {
		return fmt.Errorf("it is answered with %d", status)
	}
	return nil
}

// passedThrough says whether a TLS handshake reaches the backend, which speaks plain HTTP and says so.
func (w *world) passedThrough(address string, want bool) error {
	raw, err := w.Dial(w.t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, &tls.Config{ServerName: "tls.example", InsecureSkipVerify: true})
	err = conn.HandshakeContext(w.t.Context())
	if reached := errors.As(err, new(tls.RecordHeaderError)); reached != want {
		return fmt.Errorf("the backend was reached: %v; %w", reached, err)
	}
	return nil
}

// resolved says whether the references of an object are resolved, and that the reason is the grant if not.
func (w *world) resolved(r reference, want bool) error {
	var o conditioned
	if err := w.get(r.path, &o); err != nil {
		return err
	}
	conditions := o.conditions()
	if r.listener != "" {
		conditions = nil
		for _, l := range o.Status.Listeners {
			if l.Name == r.listener {
				conditions = l.Conditions
			}
		}
	}
	for _, c := range conditions {
		if c.Type != "ResolvedRefs" {
			continue
		}
		if right := want && c.Status == "True" || !want && c.Status == "False" && c.Reason == "RefNotPermitted"; !right {
			return fmt.Errorf("ResolvedRefs is %s: %s: %s", c.Status, c.Reason, c.Message)
		}
		return nil
	}
	return fmt.Errorf("there is no condition ResolvedRefs in %+v", o.Status)
}

// grant allows one kind of reference.
func grant(to string, i int, r reference, from string) string {
	fromGroup, fromKind, _ := strings.Cut(r.from, "/")
	toGroup, toKind, _ := strings.Cut(r.to, "/")
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant-%d, namespace: %s}
spec:
  from: [{group: %s, kind: %s, namespace: %s}]
  to: [{group: %q, kind: %s}]
`, i, to, fromGroup, fromKind, from, toGroup, toKind)
}

// xbackend is an XBackend of the pods of a backend.
func xbackend(ns, name, app string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: %s, namespace: %s}
spec: {type: EndpointSelector, port: {number: 3000}, endpointSelector: {matchLabels: {app: %s}}}
`, name, ns, app)
}

// datagrams is a Service with a port for UDP.
func datagrams(ns string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: datagrams, namespace: %s}
spec: {selector: {app: one}, ports: [{protocol: UDP, port: 80}]}
`, ns)
}

func configMap(ns, name string, ca certificate) string {
	text, _ := json.Marshal(string(ca.chain)) // a string can always be
	return fmt.Sprintf(`
---
apiVersion: v1
kind: ConfigMap
metadata: {name: %s, namespace: %s}
data: {ca.crt: %s}
`, name, ns, text)
}

// referring are the Gateways and the ListenerSet with references to another namespace.
func referring(ns, to string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: %[1]s}
spec:
  gatewayClassName: %[3]s
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: proxy}}
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: tcp, protocol: TCP, port: 9000}
  - {name: udp, protocol: UDP, port: 9001}
  - {name: tls, protocol: TLS, port: 8443, hostname: tls.example, tls: {mode: Passthrough}}
  - {name: foreign, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: web, namespace: %[2]s}]}}
  - {name: clients, protocol: HTTPS, port: 444, tls: {certificateRefs: [{name: web}]}}
  tls:
    frontend:
      default: {}
      perPort:
      - port: 444
        tls: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: clients, namespace: %[2]s}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, namespace: %[1]s}
spec:
  parentRef: {name: gateway}
  listeners:
  - {name: set, protocol: HTTPS, port: 445, tls: {certificateRefs: [{name: web, namespace: %[2]s}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: second, namespace: %[1]s}
spec:
  gatewayClassName: %[3]s
  listeners: [{name: http, protocol: HTTP, port: 80}]
  tls: {backend: {clientCertificateRef: {name: web, namespace: %[2]s}}}
`, ns, to, class)
}

// referringRoutes are routes of all kinds with references to another namespace, and one without.
func referringRoutes(ns, to string) string {
	const header = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s, namespace: %s}
spec:
  parentRefs: [%s]
`
	foreign := "{name: one, namespace: " + to + ", port: 80}"
	http := func(name, rule string) string {
		return fmt.Sprintf(header, "HTTPRoute", name, ns, "{name: gateway, sectionName: http}") +
			"  hostnames: [" + name + ".example]\n  rules: [" + rule + "]\n"
	}
	stream := func(kind, name string) string {
		return fmt.Sprintf(header, kind, name, ns, "{name: gateway, sectionName: "+name+"}")
	}
	rules := "  rules: [{backendRefs: [" + foreign + "]}]\n"
	own := "backendRefs: [{name: own, port: 80}]"
	auth := "{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {}, backendRef: {name: auth, namespace: " + to +
		", port: 80}}}"
	return http("own", "{"+own+"}") + http("backend", "{backendRefs: ["+foreign+"]}") +
		http("auth", "{filters: ["+auth+"], "+own+"}") +
		http("mirror", "{filters: [{type: RequestMirror, requestMirror: {backendRef: "+foreign+"}}], "+own+"}") +
		http("xbackend", "{backendRefs: [{group: "+extended+", kind: XBackend, name: x, namespace: "+to+"}]}") +
		stream("TCPRoute", "tcp") + rules +
		stream("UDPRoute", "udp") + strings.Replace(rules, "name: one", "name: datagrams", 1) +
		stream("TLSRoute", "tls") + "  hostnames: [tls.example]\n" + rules +
		fmt.Sprintf(header, "GRPCRoute", "grpc", ns, "{name: gateway, sectionName: http}") +
		"  hostnames: [grpc.example]\n" + rules +
		fmt.Sprintf(header, "HTTPRoute", "secured", ns, "{name: gateway, sectionName: foreign}, "+
			"{name: gateway, sectionName: clients}, {kind: ListenerSet, name: set}") +
		"  hostnames: [web.example]\n  rules: [{" + own + "}]\n"
}
