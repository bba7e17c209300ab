package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// goodRoutes is how many routes there are that nothing is wrong with.
const goodRoutes = 200

// badWorld is an instance that serves good routes, and what it was told to serve before anything was bad.
type badWorld struct {
	*instance
	before map[string]string
	edits  int
	next   int
	// told, healed and edited are how long things took: until a status said why, until what was mended was served, and
	// until an edit of a good route was live beside it.
	told, healed, edited delays
}

// TestBadObjects puts each object of the corpus beside 200 good routes, alone and then all at once: its own status says
// what is wrong in words that one can act on, requests to it are answered as they should be, and the good ones do not
// notice. Their resources stay what they were to the byte, a connection to them is never closed, an edit of one is
// live at once; and what is mended heals. What is bad stays as harmless when Envoy dies, and when Sluice is restarted.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	objects := badObjects(t)
	if len(objects) < 50 {
		t.Fatalf("there are %d bad objects", len(objects))
	}
	w := startBadWorld(t, objects)
	stop := w.watch(t)
	for _, o := range objects {
		t.Run(o.name, func(t *testing.T) { w.alone(t, o) })
	}
	w.inTime(t)
	w.forgotten(t)
	from := w.writeAll(t, objects)
	for _, o := range objects {
		w.checkBad(t, o, from)
	}
	w.checkGood(t)
	stop()

	t.Log("Envoy is killed")
	if err := syscall.Kill(w.envoyPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.checkAll(t, objects)

	t.Log("Sluice is restarted")
	w.signal(syscall.SIGTERM)
	if !w.exited(w.process) {
		t.Fatal("sluice is still running after SIGTERM")
	}
	w.run()
	w.waitReady()
	for _, o := range objects {
		if len(o.restartedAnswer) > 0 {
			o.answer = o.restartedAnswer
		}
	}
	w.checkAll(t, objects)

	t.Log("all is mended")
	for _, o := range objects {
		w.write(o.name+".yaml", o.mended())
	}
	for _, o := range objects {
		w.answers(t, o.mendedAnswer)
	}
	w.checkGood(t)
}

// startBadWorld starts an instance with the good routes. Its Envoy takes smaller expressions than Sluice thinks.
func startBadWorld(t *testing.T, objects []*badObject) *badWorld {
	needEnvoy(t)
	wrapper := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(wrapper, fmt.Appendf(nil, strictEnvoy, shared.envoy), 0o700); err != nil {
		t.Fatal(err)
	}
	in := prepare(t, nil, "--envoy", wrapper)
	for name, value := range badCertificates(t) {
		in.vars[name] = value
	}
	in.vars["MEBIBYTE"] = strings.Repeat("x", 1<<20)
	in.vars["DEEP"] = strings.Repeat("[", 100_000)
	in.vars["MODULES"] = serveModules(t).modules
	in.oddServer(t)
	for _, o := range objects {
		o.takePorts(t, in)
	}
	const perFile = 25
	for i := 1; i < goodRoutes; i += perFile {
		text := ""
		for j := i; j < min(goodRoutes, i+perFile); j++ {
			text += goodRoute(j, "good")
		}
		in.write(fmt.Sprintf("good-%03d.yaml", i), text)
	}
	in.write("edited.yaml", goodRoute(0, "edit-0"))
	in.run()
	in.waitReady()
	w := &badWorld{instance: in, told: delays{}, healed: delays{}, edited: delays{}}
	w.before = w.served(t)
	return w
}

// takePorts gives the object ports of its own.
func (o *badObject) takePorts(t *testing.T, in *instance) {
	numbers := make([]string, 2)
	for i := range numbers {
		numbers[i] = strconv.Itoa(freePort(t))
		in.vars[numbers[i]] = numbers[i]
	}
	replace := strings.NewReplacer("${PORT}", numbers[0], "${PORT2}", numbers[1], "${HTTP}", "HTTP")
	o.body = strings.NewReplacer("${PORT}", numbers[0], "${PORT2}", numbers[1]).Replace(o.body)
	for i := range o.mend {
		o.mend[i] = [2]string{replace.Replace(o.mend[i][0]), replace.Replace(o.mend[i][1])}
	}
	for _, list := range [][]badAnswer{o.answer, o.restartedAnswer, o.mendedAnswer} {
		for i := range list {
			list[i].port = replace.Replace(list[i].port)
		}
	}
}

func goodName(i int) string { return fmt.Sprintf("good-%03d", i) }

func goodRoute(i int, rule string) string {
	return route(goodName(i), "["+goodName(i)+".example]", [2]string{rule, "[{path: {value: /}}]"})
}

// alone puts one object beside the good ones, and mends and removes it.
func (w *badWorld) alone(t *testing.T, o *badObject) {
	file := o.name + ".yaml"
	if o.edit {
		w.write(file, o.mended())
		w.answers(t, o.mendedAnswer)
	}
	from, began := len(w.process.output.String()), time.Now()
	w.write(file, o.body)
	w.checkSaid(t, o, from)
	w.told[o.name] = time.Since(began)
	w.checkBad(t, o, from)
	began = time.Now()
	w.checkSome(t)
	w.edited[o.name] = time.Since(began)
	if len(o.mend) > 0 {
		began = time.Now()
		w.write(file, o.mended())
		w.answers(t, o.mendedAnswer)
		w.healed[o.name] = time.Since(began)
	}
	w.remove(file)
}

// forgotten waits until what was removed is gone: what vanishes is kept for a moment, in case it comes back.
func (w *badWorld) forgotten(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		all, err := w.objects()
		if err != nil {
			return err
		}
		for _, o := range all {
			switch name := o.Metadata.Name; {
			case strings.HasPrefix(name, "good-"), name == "gw", name == "sluice", shared.backends[name] != nil:
			default:
				return fmt.Errorf("%s %s is still there", o.Kind, name)
			}
		}
		return nil
	})
}

// writeAll writes all bad objects at once. It returns where the output was before.
func (w *badWorld) writeAll(t *testing.T, objects []*badObject) int {
	for _, o := range objects {
		if o.edit {
			w.write(o.name+".yaml", o.mended())
			w.answers(t, o.mendedAnswer)
		}
	}
	from := len(w.process.output.String())
	for _, o := range objects {
		w.write(o.name+".yaml", o.body)
	}
	return from
}

// checkSaid waits until all is said of a bad object that has to be.
func (w *badWorld) checkSaid(t *testing.T, o *badObject, from int) {
	t.Helper()
	for _, parts := range o.output {
		eventually(t, func() error { return holdsLine(w.process.output.String()[from:], parts) })
	}
	for _, want := range o.status {
		w.condition(t, want)
	}
}

// checkBad waits until all has come of a bad object that has to.
func (w *badWorld) checkBad(t *testing.T, o *badObject, from int) {
	t.Helper()
	w.checkSaid(t, o, from)
	w.answers(t, o.answer)
	if out := w.process.output.String()[from:]; o.works && strings.Contains(out, "/"+o.name+".yaml:") {
		t.Errorf("%s works, and this is said of it: %s", o.name, tail(out, 20))
	}
}

// holdsLine looks for a line that says that something is refused, with all parts.
func holdsLine(text string, parts []string) error {
	for line := range strings.SplitSeq(text, "  refused  ") {
		missing := false
		for _, part := range parts {
			missing = missing || !strings.Contains(line, part)
		}
		if !missing {
			return nil
		}
	}
	return fmt.Errorf("no line has all of %q:\n%s", parts, tail(text, 20))
}

// answers waits until requests are answered as they should be.
func (w *badWorld) answers(t *testing.T, list []badAnswer) {
	t.Helper()
	for _, a := range list {
		eventually(t, func() error { return w.answered(t, a) })
	}
}

func (w *badWorld) answered(t *testing.T, a badAnswer) error {
	switch a.want {
	case "refused":
		conn, err := net.Dial("tcp", w.address(a.port))
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("port %s: got %v, want that nobody listens", a.port, err)
		}
		return nil
	case "closed":
		if err := w.closes(a); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("port %s: got %v, want that the connection is closed", a.port, err)
		}
		return nil
	}
	status, err := strconv.Atoi(a.want)
	if err != nil {
		return err
	}
	r := request{host: a.host, path: a.path, port: a.port}
	if a.scheme == "https" {
		r.tls = &tls.Config{ServerName: a.host}
	}
	got, err := w.send(t.Context(), r)
	if err != nil {
		return err
	}
	if got.status != status {
		return fmt.Errorf("%s%s at %s: status %d, want %d: %.200s", a.host, a.path, a.port, got.status, status, got.body)
	}
	return nil
}

// closes speaks TLS and HTTP to a port, and returns what ends that before there is an answer. In TLS 1.3 the client is
// done with the handshake before the server.
func (w *badWorld) closes(a badAnswer) error {
	conn, err := net.Dial("tcp", w.address(a.port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: a.host})
	if _, err := fmt.Fprintf(secure, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", a.host); err != nil {
		return err
	}
	_, err = secure.Read(make([]byte, 1))
	return err
}

// checkSome says that good routes are served as before, looking at a few of them, and that one can be edited.
func (w *badWorld) checkSome(t *testing.T) {
	t.Helper()
	w.edits++
	rule := fmt.Sprintf("edit-%d", w.edits)
	w.write("edited.yaml", goodRoute(0, rule))
	w.want(t, request{host: goodName(0) + ".example"}, expect{header: []string{"x-rule: " + rule}})
	for range 3 {
		w.next = w.next%(goodRoutes-1) + 1
		w.must(t, request{host: goodName(w.next) + ".example"}, expect{header: []string{"x-rule: good"}})
	}
	now := w.served(t)
	for name, was := range w.before {
		if got, ok := now[name]; !ok || got != was {
			t.Errorf("%s is not what it was: %s\nbefore: %s", name, got, was)
		}
	}
}

// checkGood is checkSome for all good routes.
func (w *badWorld) checkGood(t *testing.T) {
	t.Helper()
	w.checkSome(t)
	for i := 1; i < goodRoutes; i++ {
		w.want(t, request{host: goodName(i) + ".example"}, expect{header: []string{"x-rule: good"}})
	}
}

// checkAll says that good ones are served, and that bad ones are what they were.
func (w *badWorld) checkAll(t *testing.T, objects []*badObject) {
	t.Helper()
	w.want(t, request{host: goodName(1) + ".example"}, expect{header: []string{"x-rule: good"}})
	w.checkGood(t)
	for _, o := range objects {
		for _, want := range o.status {
			w.condition(t, want)
		}
		w.answers(t, o.answer)
	}
}

// served returns what Envoy is told, by type and name, but for the hosts of routes that are bad or edited: of route
// tables each host by itself, and nothing else.
func (w *badWorld) served(t *testing.T) map[string]string {
	t.Helper()
	body, err := w.get("/config")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for kind, list := range all {
		for _, raw := range list {
			var r struct {
				Name         string
				ClusterName  string            `json:"cluster_name"`
				VirtualHosts []json.RawMessage `json:"virtual_hosts"`
			}
			if err := json.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			if kind != "routes" {
				out[kind+"/"+r.Name+r.ClusterName] = compact(t, raw)
			}
			for _, host := range r.VirtualHosts {
				var h struct{ Name string }
				if err := json.Unmarshal(host, &h); err != nil {
					t.Fatal(err)
				}
				if h.Name != goodName(0)+".example" {
					out[kind+"/"+r.Name+"/"+h.Name] = compact(t, host)
				}
			}
		}
	}
	return out
}

// compact takes out the spaces, which protojson puts in at random.
func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// askGood sends a request to a good route. The address is the same for all hosts, so that they share a connection.
func askGood(ctx context.Context, client *http.Client, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway.example/", nil)
	if err != nil {
		return err
	}
	req.Host = host
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if rule := res.Header.Get("x-rule"); res.StatusCode != http.StatusOK || rule != "good" {
		return fmt.Errorf("status %d of rule %q", res.StatusCode, rule)
	}
	return nil
}

// watch sends requests to the good routes on one connection until it is told to stop: none may fail, and the
// connection may not be closed.
func (w *badWorld) watch(t *testing.T) (stop func()) {
	var dials atomic.Int64
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", w.address("HTTP"))
		},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		sent := 0
		for ; ctx.Err() == nil; sent++ {
			host := goodName(1+sent%(goodRoutes-1)) + ".example"
			if err := askGood(context.WithoutCancel(ctx), client, host); err != nil {
				t.Errorf("request %d, to %s: %v", sent, host, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		done <- sent
	}()
	return func() {
		cancel()
		if sent := <-done; sent < 100 || dials.Load() != 1 {
			t.Errorf("%d requests were sent on %d connections, want 100 at least on one", sent, dials.Load())
		}
	}
}
