package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// quiet is how long a gateway that has answered may be silent before it has nothing more to say.
const quiet = 300 * time.Millisecond

// conversation writes bytes to a connection of its own and returns everything that comes back until the gateway closes
// it, or has been silent for a while.
func (in *instance) conversation(t *testing.T, send string) string {
	t.Helper()
	conn, err := net.Dial("tcp", in.address("HTTP"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = conn.Close() }()
	go func() { // Envoy may close a connection that it does not like before it has read all of it.
		_, _ = io.WriteString(conn, send)
	}()
	var answer strings.Builder
	buffer := make([]byte, 64<<10)
	for silence := patience; ; silence = quiet {
		if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			t.Error(err)
		}
		n, err := conn.Read(buffer)
		answer.Write(buffer[:n])
		if err != nil {
			return answer.String()
		}
	}
}

// conversations has all of the conversations at once, and returns what came back by their names.
func (in *instance) conversations(t *testing.T, sends map[string]string) map[string]string {
	t.Helper()
	answers := make(map[string]string, len(sends))
	var all sync.WaitGroup
	var mu sync.Mutex
	for name, send := range sends {
		all.Go(func() {
			answer := in.conversation(t, send)
			mu.Lock()
			defer mu.Unlock()
			answers[name] = answer
		})
	}
	all.Wait()
	return answers
}

// statusOf returns the status of the first answer of a conversation, 0 if there is none.
func statusOf(t *testing.T, answer string) int {
	t.Helper()
	if answer == "" {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil {
		t.Errorf("%v in %q", err, answer)
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode
}

// TestA34HostForms asks for hosts in every way that they can be written: equal hosts are the same route's, and nothing
// else is.
func TestA34HostForms(t *testing.T) {
	t.Parallel()
	match := `[{path: {value: /}}]`
	in := start(t, files{"routes.yaml": route("exact", "[a.example]", [2]string{"exact", match}) +
		route("wild", `["*.wild.example"]`, [2]string{"wild", match}) +
		route("unicode", "[xn--bcher-kva.example]", [2]string{"unicode", match}) +
		strings.Replace(route("rest", "[]", [2]string{"rest", match}), "hostnames: []", "", 1)})
	const refused = "refused"
	cases := []struct{ lines, want string }{
		{"Host: a.example", "exact"},
		{"Host: A.Example", "exact"},
		{"Host:a.example", "exact"},
		{"Host: \t a.example  ", "exact"},
		{"Host: a.example:80", "exact"},
		{"Host: a.example:65535", "exact"},
		{"Host: aa.example", "rest"},
		{"Host: a.example.com", "rest"},
		{"Host: x.a.example", "rest"},
		{"Host: x.wild.example", "wild"},
		{"Host: x.y.wild.example", "wild"},
		{"Host: x.WILD.example", "wild"},
		{"Host: wild.example", "rest"},
		{"Host: xwild.example", "rest"},
		{"Host: *.wild.example", "wild"},
		{"Host: xn--bcher-kva.example", "unicode"},
		{"Host: bücher.example", "rest refused"},
		{"Host: 127.0.0.1", "rest"},
		{"Host: [::1]", "rest"},
		{"Host: [::1]:80", "rest"},
		// Envoy makes one host of two, which the backend gets as well: nobody sees another one than the route is for.
		{"Host: a.example\r\nHost: a.example", "rest"},
		{"Host: x.wild.example\r\nHost: a.example", "rest"},
		{"Host: a.example, x.wild.example", "rest refused"},
		{"Host: a.example/x.wild.example", "rest refused"},
		{"Host: x@a.example", "rest refused"},
		{"Host: a.example\x00.wild.example", refused},
		{"X-Host: a.example", refused},
		{"X-Forwarded-Host: a.example\r\nHost: x.wild.example", "wild"},
		{"Forwarded: host=a.example\r\nHost: x.wild.example", "wild"},
	}
	sends := map[string]string{}
	for _, tt := range cases {
		sends[tt.lines] = "GET / HTTP/1.1\r\n" + tt.lines + "\r\nConnection: close\r\n\r\n"
	}
	answers := in.conversations(t, sends)
	for _, tt := range cases {
		answer, got := answers[tt.lines], refused
		if _, rule, found := strings.Cut(answer, "x-rule: "); found {
			got, _, _ = strings.Cut(rule, "\r\n")
		}
		if !strings.Contains(tt.want, got) {
			t.Errorf("%q is for %s, want %s: %.80q", tt.lines, got, tt.want, answer)
		}
	}
	// What the request line says counts, and not the header (RFC 9112, section 3.2.2).
	answer := in.conversation(t, "GET http://a.example/ HTTP/1.1\r\nHost: x.wild.example\r\nConnection: close\r\n\r\n")
	if !strings.Contains(answer, "x-rule: exact") || !strings.Contains(answer, `"host":"a.example"`) {
		t.Errorf("the absolute form is answered with %q", answer)
	}
}

// onlyRoot lets in requests for / alone: what is for another path has got past it if a backend sees it.
const onlyRoot = `
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, cel: "true", operation: {path: {type: Exact, value: /}}}]`

// TestA35Smuggling sends requests whose end can be read in two ways, each with another request in what one of the
// readings leaves over. The backend must never see that one, and the client never get two answers for one request.
func TestA35Smuggling(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": guardedRoute("a", onlyRoot)})
	// The letters become the number of the case.
	const number = "ABCD"
	hidden := "GET " + once("/smuggled") + "/" + number + " HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	head := func(lines ...string) string {
		return "POST / HTTP/1.1\r\nHost: a.example\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	length := fmt.Sprintf("Content-Length: %d", len("0\r\n\r\n"+hidden))
	const chunked = "Transfer-Encoding: chunked"
	refused := map[string]string{
		"CL.TE":                      head(length, chunked) + "0\r\n\r\n" + hidden,
		"TE.CL":                      head(chunked, "Content-Length: 4") + chunk,
		"two lengths":                head("Content-Length: 0", length) + "0\r\n\r\n" + hidden,
		"list of lengths":            head("Content-Length: 0, 9") + hidden,
		"length with a sign":         head("Content-Length: +0") + hidden,
		"length with a space":        head("Content-Length : 0") + hidden,
		"negative length":            head("Content-Length: -1") + hidden,
		"length in hexadecimal":      head("Content-Length: 0x0") + hidden,
		"length beyond all":          head("Content-Length: 18446744073709551616") + hidden,
		"TE with a space":            head("Transfer-Encoding : chunked", "Content-Length: 0") + chunk,
		"TE with a tab":              head("Transfer-Encoding:\tchunked", "Content-Length: 0") + chunk,
		"TE with a vertical tab":     head("Transfer-Encoding: \vchunked", "Content-Length: 0") + chunk,
		"TE that is not one":         head("Transfer-Encoding: xchunked", "Content-Length: 0") + chunk,
		"TE twice":                   head(chunked, "Transfer-Encoding: identity") + chunk,
		"TE that chunks first":       head("Transfer-Encoding: chunked, identity") + chunk,
		"TE folded":                  head("Transfer-Encoding:\r\n chunked", "Content-Length: 0") + chunk,
		"TE in HTTP/1.0":             strings.Replace(head(chunked, length), "/1.1", "/1.0", 1) + "0\r\n\r\n" + hidden,
		"line feed in a chunk's end": head(chunked) + "5;a\n" + "abcde\r\n0\r\n\r\n",
		"extension with a line feed": head(chunked) + "1;x=\"\n\"\r\na\r\n0\r\n\r\n",
		"chunk of another size":      head(chunked) + "1\r\nab\r\n0\r\n\r\n" + hidden,
		"chunk size with a sign":     head(chunked) + "+0\r\n\r\n" + hidden,
		"chunk size with 0x":         head(chunked) + "0x0\r\n\r\n" + hidden,
		"chunk size beyond all":      head(chunked) + "10000000000000000\r\n" + hidden,
		"chunk without an end":       head(chunked) + "1\ra0\r\n\r\n" + hidden,
		"NUL in a value":             head("X: y\x00", "Content-Length: 0") + hidden[:0],
		"line feeds only":            strings.ReplaceAll(head(chunked, "Content-Length: 0"), "\r", "") + chunk,
		"space in a name":            head("Content Length: 0") + hidden[:0],
		"name without a colon":       head("Content-Length", "Content-Length: 0") + hidden[:0],
		"refused CONNECT":            "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n\x16\x03\x01" + hidden,
	}
	// What can be read in one way goes through: a body that looks like a request is a body, and a value a value.
	right := map[string]string{
		"folded":          head("X: y\r\n "+chunked, "Content-Length: 0", "Connection: close"),
		"carriage return": head("X: y\r"+chunked, "Content-Length: 0", "Connection: close"),
		"chunks":          head(chunked, "Connection: close") + chunk,
		"length":          head(fmt.Sprintf("Content-Length: %d", len(hidden)), "Connection: close") + hidden,
		"trailers": head(chunked, "Connection: close") +
			"1\r\na\r\n0\r\nContent-Length: 9\r\nHost: b.example\r\n\r\n",
	}
	sends, inner := maps.Clone(refused), map[string]string{}
	maps.Copy(sends, right)
	for i, name := range slices.Sorted(maps.Keys(sends)) {
		sends[name] = strings.ReplaceAll(sends[name], number, fmt.Sprintf("%04d", i))
		inner[name] = strings.Fields(strings.ReplaceAll(hidden, number, fmt.Sprintf("%04d", i)))[1]
	}
	for name, answer := range in.conversations(t, sends) {
		if shared.backends["one"].Received(inner[name]) != 0 {
			t.Errorf("%s: the backend has got the request inside: %q", name, answer)
		}
		if n := strings.Count(answer, "HTTP/1.1 "); n > 1 {
			t.Errorf("%s: there are %d answers: %q", name, n, answer)
		}
		if got := statusOf(t, answer); (got == http.StatusOK) != (right[name] != "") {
			t.Errorf("%s: it is answered with %d: %q", name, got, answer)
		}
	}
}

// refuser is a server that answers what it is asked with 405, and keeps all that it is sent.
type refuser struct {
	listener net.Listener
	mu       sync.Mutex
	got      []byte
}

func startRefuser(t *testing.T) *refuser {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	r := &refuser{listener: listener}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *refuser) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		r.mu.Lock()
		r.got = append(r.got, buffer[:n]...)
		r.mu.Unlock()
		if err != nil {
			return
		}
		// Whatever else the gateway would send ahead of the answer has come by then.
		time.Sleep(100 * time.Millisecond)
		_, _ = io.WriteString(conn, "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
	}
}

func (r *refuser) received() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.got)
}

// TestA35DataAheadOfAnUpgrade sends a request behind one that asks for an upgrade or a tunnel, without waiting for the
// answer. The backend does not agree to it, so it must not find that request behind the other one.
func TestA35DataAheadOfAnUpgrade(t *testing.T) {
	t.Parallel()
	backend := startRefuser(t)
	in := start(t, files{"routes.yaml": localBackend("refuser", backend.listener.Addr(), "") +
		hostRoute("free", toBackend("refuser")) + trafficPolicy("free", "free",
		"  httpUpgrade: [{type: websocket}, {type: CONNECT, connect: {}}, {type: x}]\n")})
	for name, head := range map[string]string{
		"websocket": "GET / HTTP/1.1\r\nHost: free.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"tunnel":    "CONNECT free.example:80 HTTP/1.1\r\nHost: free.example:80\r\n\r\n",
		"other":     "GET / HTTP/1.1\r\nHost: free.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		inner := once("/ahead-of-" + name)
		answer := in.conversation(t, head+"GET "+inner+" HTTP/1.1\r\nHost: free.example\r\n\r\n")
		if status := statusOf(t, answer); status < 400 {
			t.Errorf("%s: it is answered with %d: %q", name, status, answer)
		}
		if got := backend.received(); strings.Contains(got, inner) {
			t.Errorf("%s: the backend has got what was sent ahead: %q", name, got)
		}
	}
}

// TestA39LargeRequests sends more headers, and longer ones, than a request may have. It is refused before it reaches a
// backend, and nobody else notices.
func TestA39LargeRequests(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	path := once("/large")
	long := func(n int) string { return strings.Repeat("a", n) }
	get := func(name, more, header string) string {
		return "GET " + path + "/" + name + more + " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n" + header + "\r\n"
	}
	many := func(n int) string { return strings.Repeat("x-a: b\r\n", n) }
	taken := map[string]string{
		"headers": get("headers", "", many(90)), "long-header": get("long-header", "", "x-a: "+long(50<<10)+"\r\n"),
	}
	refused := map[string]string{
		"101-headers":       get("101-headers", "", many(101)),
		"10000-headers":     get("10000-headers", "", many(10_000)),
		"too-long-a-header": get("too-long-a-header", "", "x-a: "+long(60<<10)+"\r\n"),
		"too-long-headers":  get("too-long-headers", "", strings.Repeat("x-a: "+long(1000)+"\r\n", 70)),
		"8-MiB":             get("8-MiB", "", "x-a: "+long(8<<20)+"\r\n"),
		"too-long-a-name":   get("too-long-a-name", "", "x-"+long(61<<10)+": a\r\n"),
		"too-long-a-host":   get("too-long-a-host", "", "host: "+long(61<<10)+"\r\n"),
		"path":              get("path", "/"+long(1<<20), ""),
		"query":             get("query", "?"+long(1<<20), ""),
		"method":            long(1<<20) + " " + path + "/method HTTP/1.1\r\nHost: a.example\r\n\r\n",
	}
	for name, answer := range in.conversations(t, taken) {
		if status := statusOf(t, answer); status != http.StatusOK {
			t.Errorf("%s: it is answered with %d: %.200q", name, status, answer)
		}
	}
	for name, answer := range in.conversations(t, refused) {
		// A client that is still sending when it is refused may find the connection reset instead of the answer.
		switch status := statusOf(t, answer); status {
		case 0, http.StatusBadRequest, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		default:
			t.Errorf("%s: it is answered with %d: %.200q", name, status, answer)
		}
		if shared.backends["one"].Received(path+"/"+name) > 0 {
			t.Errorf("%s: the backend has got it", name)
		}
	}
	in.must(t, request{}, expect{backend: "one"})
}
