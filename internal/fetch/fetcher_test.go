package fetch

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// limit is the size limit of the tests.
const limit = 1000

// running is a fetcher that runs until the test ends, and what it has delivered.
type running struct {
	*Fetcher
	delivered chan delivery
	// end ends it.
	end func()
}

type delivery struct {
	fetch model.Fetch
	model.Fetched
}

func run(t *testing.T, opts Options) *running {
	t.Helper()
	r := &running{delivered: make(chan delivery, 1000)}
	opts.Deliver = func(f model.Fetch, got model.Fetched) { r.delivered <- delivery{f, got} }
	if opts.Pause == 0 {
		opts.Pause = time.Millisecond
	}
	r.Fetcher = New(opts)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx) })
	r.end = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(r.end)
	return r
}

// next returns the next delivery.
func (r *running) next(t *testing.T) delivery {
	t.Helper()
	select {
	case d := <-r.delivered:
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is delivered")
		return delivery{}
	}
}

func get(url string) model.Fetch {
	return model.NewFetch(model.FetchSpec{Kind: model.FetchHTTP, URL: url, Limit: limit})
}

// serve runs a server until the test ends.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// hang is a handler that does not answer. Each request that it gets is told of, and again when it is given up.
func hang(t *testing.T, arrived, left chan<- string) http.HandlerFunc {
	t.Helper()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		select {
		case <-r.Context().Done():
			left <- r.URL.Path
		case <-over:
		}
	}
}

// TestFetcherHeals says that what cannot be fetched is said, once, and tried until it can.
func TestFetcherHeals(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := 0
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("here"))
	})
	f := run(t, Options{Local: true})
	f.Want(get(url), true)
	if got := f.next(t); got.Error != "the server answers 503 Service Unavailable" || got.Data != nil {
		t.Errorf("got %q, %q, want a 503", got.Data, got.Error)
	}
	if got := f.next(t); string(got.Data) != "here" || got.Error != "" || len(got.SHA256) != 64 {
		t.Errorf("got %q, %q, want the document", got.Data, got.Error)
	}
}

// TestHangingServer says that a server that does not answer is waited for by nobody else, is not asked more often than
// a host may be, and is given up.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	arrived, left := make(chan string, 100), make(chan string, 100)
	hanging := serve(t, hang(t, arrived, left))
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("here")) })
	f := run(t, Options{Local: true, Timeout: time.Minute})
	for _, path := range []string{"/a", "/b", "/c", "/d"} {
		f.Want(get(hanging+path), true)
	}
	for range maxPerHost {
		<-arrived
	}
	f.Want(get(good), true)
	if got := f.next(t); got.fetch != get(good) || string(got.Data) != "here" {
		t.Errorf("got %q of %v", got.Data, got.fetch)
	}
	if len(arrived) > 0 {
		t.Errorf("more than %d attempts go to one host", maxPerHost)
	}
	// Who is not wanted any more makes room.
	for _, path := range []string{"/a", "/b", "/c", "/d"} {
		f.Want(get(hanging+path), false)
	}
	<-left
	f.Settle(t.Context())

	short := run(t, Options{Local: true, Timeout: 50 * time.Millisecond, Pause: time.Hour})
	short.Want(get(hanging), true)
	if got := short.next(t); got.Error != "there was no complete answer within 50ms" {
		t.Errorf("a server that hangs is an error %q", got.Error)
	}
}

// TestSettle says that it takes until everything was tried, whatever came of it.
func TestSettle(t *testing.T) {
	t.Parallel()
	url := serve(t, http.NotFound)
	f := run(t, Options{Local: true, Pause: time.Hour})
	f.Settle(t.Context()) // nothing is wanted
	f.Want(get(url+"/a"), true)
	f.Want(get(url+"/b"), true)
	f.Settle(t.Context())
	if len(f.delivered) != 2 {
		t.Errorf("%d of 2 fetches were delivered", len(f.delivered))
	}
	f.Want(get(serve(t, hang(t, make(chan string, 10), make(chan string, 10)))), true)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	f.Settle(short)
	if short.Err() == nil {
		t.Error("it is settled, though one has not been tried")
	}
}

// TestRefresh says that what is to be looked for again is delivered when it is another, and stays while it cannot be.
func TestRefresh(t *testing.T) {
	t.Parallel()
	answers := make(chan string)
	var unchanged sync.WaitGroup
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer := <-answers
		switch {
		case answer == "":
			w.WriteHeader(http.StatusBadGateway)
		case r.Header.Get("If-None-Match") == answer:
			unchanged.Done()
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", answer)
			_, _ = w.Write([]byte("content of " + answer))
		}
	})
	f := run(t, Options{Local: true})
	unchanged.Add(2)
	f.Want(model.NewFetch(model.FetchSpec{
		Kind: model.FetchHTTP, URL: url, Limit: limit, Every: time.Millisecond,
	}), true)
	for _, answer := range []string{"one", "one", "", "", "one", "two"} {
		answers <- answer
	}
	unchanged.Wait()
	for _, want := range []string{"content of one", "content of two"} {
		if got := f.next(t); string(got.Data) != want || got.Error != "" {
			t.Errorf("got %q, %q, want %q", got.Data, got.Error, want)
		}
	}
	close(answers)
}

// TestFetchOnce says what an attempt comes to.
func TestFetchOnce(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/fine?secret=1", http.StatusFound)
		case "/circle":
			http.Redirect(w, r, "/circle", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/large":
			_, _ = w.Write(make([]byte, limit+1))
		case "/user":
			user, password, _ := r.BasicAuth()
			_, _ = w.Write([]byte(user + password))
		case "/fine":
			_, _ = w.Write([]byte("fine"))
		default:
			http.Error(w, "the body of an error is not repeated", http.StatusNotFound)
		}
	})
	const sum = "8f4b3a2bb6b2b8d1c6a4f2ea1ac63f2e6a4b9e5f7a1b0c5d9f3e8a7b6c5d4e3f"
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
	for name, test := range map[string]struct{ url, sha256, data, err string }{
		"fine":           {url: url + "/fine", data: "fine"},
		"moved":          {url: url + "/moved", data: "fine"},
		"user":           {url: "http://me:pass@127.0.0.1:" + port + "/user", data: "mepass"},
		"wrong checksum": {url: url + "/fine", sha256: sum, err: "its SHA-256 is"},
		"too large":      {url: url + "/large", err: "it is larger than 1000 bytes"},
		"missing":        {url: url + "/missing", err: "the server answers 404 Not Found"},
		"circle":         {url: url + "/circle", err: "it redirects more than 5 times"},
		"other scheme":   {url: url + "/file", err: `it redirects from http to "file", which is not followed`},
		"no URL":         {url: "http://a b:secret", err: "it is not a URL"},
		"file":           {url: "file:///etc/passwd", err: "its URL is not one of http or https"},
		"nobody there":   {url: "http://127.0.0.1:1/", err: "dial 127.0.0.1:1: connect: connection refused"},
	} {
		f := New(Options{Local: true})
		got, err := f.attempt(t.Context(), model.FetchSpec{
			Kind: model.FetchHTTP, URL: test.url, SHA256: test.sha256, Limit: limit,
		}, "")
		if test.err == "" && (err != nil || string(got.data) != test.data) ||
			test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: got %q, %v, want %q, %q", name, got.data, err, test.data, test.err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "repeated")) {
			t.Errorf("%s: %v says too much", name, err)
		}
	}
}

// TestA49LocalAddresses says that in a cluster nobody can send the control plane to its own machine, neither by
// address, name or redirect.
func TestA49LocalAddresses(t *testing.T) {
	t.Parallel()
	asked := false
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	f := New(Options{})
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
	for _, target := range []string{url, "http://localhost:" + port, "http://[::1]:" + port} {
		_, err := f.attempt(t.Context(), model.FetchSpec{Kind: model.FetchHTTP, URL: target, Limit: limit}, "")
		if err == nil || err.Error() != errLocal.Error() {
			t.Errorf("%s: got %v, want %v", target, err, errLocal)
		}
	}
	if asked {
		t.Error("the server was asked")
	}
	for address, refused := range map[string]bool{
		"169.254.169.254:80": true, "0.0.0.0:80": true,
		"[fe80::1%eth0]:80": true, "[::ffff:127.0.0.1]:80": true, "[fd00:ec2::254]:80": true,
		"224.0.0.1:80": true, "100.100.100.200:80": true, "nonsense": true,
		"10.1.2.3:80": false, "192.0.2.1:443": false, "[2001:db8::1]:443": false, "[fd00::1]:443": false,
	} {
		if err := refuseLocal("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
}
