package kube

import (
	"errors"
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// from is what the echo server of a Service says.
func from(service string) string { return fmt.Sprintf(`"service": %q`, service) }

// ask sends one request on a new connection, and returns the status of the answer, which a Service's backend must have
// given if it is 200.
func (w *world) ask(address, host, path, service string) (int, error) {
	body := ""
	if service != "" {
		body = from(service)
	}
	return w.askFor(address, host, path, body)
}

// askFor is ask for a text in the answer, such as a header of the request, which backends repeat.
func (w *world) askFor(address, host, path, text string) (int, error) {
	conn := load.NewConn(withPort(address))
	conn.Use(w.Dial, text)
	defer conn.Close()
	return conn.Do(load.NewRequest(host, path, nil))
}

// answeredWith says whether the answer has another status than it should or, if that is 200, lacks a text.
func (w *world) answeredWith(address, host, path string, want int, text string) error {
	status, err := w.askFor(address, host, path, text)
	if err == nil && status != want {
		err = fmt.Errorf("%s%s: status %d, want %d", host, path, status, want)
	}
	return err
}

// atEach checks something at each Envoy of the test's Gateway, by its own address.
func (w *world) atEach(check func(address string) error) error {
	return w.ofEach(func(p corev1.Pod) error { return check(net.JoinHostPort(p.Status.PodIP, "80")) })
}

// ofEach checks something of each Envoy of the test's Gateway.
func (w *world) ofEach(check func(corev1.Pod) error) error {
	pods, err := w.envoys(w.ns, "gateway")
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no Envoy")
	}
	for _, p := range pods {
		if err := check(p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func withPort(address string) string {
	if strings.Contains(address, ":") {
		return address
	}
	return net.JoinHostPort(address, "80")
}

// answers waits until a host is answered by the backend of a Service.
func (w *world) answers(address, host, service string) {
	w.t.Helper()
	w.eventually(host+" to be answered by "+service, func() error { return w.answered(address, host, service) })
}

// answered says what a request is answered with if it is not by the backend of a Service.
func (w *world) answered(address, host, service string) error {
	status, err := w.ask(address, host, "/", service)
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// traffic is load on a Gateway, of all kinds of connections.
type traffic struct {
	w     *world
	stops []func() load.Result
}

// Rates of the load, in requests per second. What is proved is that none is lost, not how many there can be.
const (
	steadyRate = 80
	newRate    = 20
)

// load makes load on a host whose answers a Service's backend must give: over connections that are kept, over a new one
// for each request, and of requests that take three seconds.
func (w *world) load(address, host, service string) *traffic {
	w.t.Helper()
	out := &traffic{w: w}
	config := load.Config{Address: withPort(address), Dial: w.Dial, Body: from(service)}
	closing := map[string]string{"connection": "close"}
	for _, c := range []struct {
		path   string
		header map[string]string
		conns  int
		rate   float64
	}{
		{path: "/kept", conns: 8, rate: steadyRate},
		{path: "/new", header: closing, conns: 4, rate: newRate},
		{path: "/slow?delay=3s", conns: 3},
		{path: "/slow-new?delay=3s", header: closing, conns: 3},
	} {
		config.Requests = []load.Request{load.NewRequest(host, c.path, c.header)}
		config.Conns, config.Rate = c.conns, c.rate
		out.stops = append(out.stops, load.Start(config))
	}
	w.t.Cleanup(func() { out.stop() })
	return out
}

// stop ends the load and returns what came of each kind.
func (l *traffic) stop() []load.Result {
	var out []load.Result
	for _, stop := range l.stops {
		out = append(out, stop())
	}
	l.stops = nil
	return out
}

// none ends the load and checks that no request was lost, and that there were requests of each kind.
func (l *traffic) none() {
	l.w.t.Helper()
	total := 0
	for i, r := range l.stop() {
		total += r.Sent
		if r.Failed() > 0 || r.Sent == 0 {
			l.w.t.Errorf("load %d: %v", i, r)
		}
	}
	l.w.t.Logf("%d requests", total)
}
