package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// swallow passes what comes on to an address, until it is told to pass nothing and say nothing.
func swallow(t *testing.T, to string) (address string, silent *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	silent = &atomic.Bool{}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = from.Close() })
			server, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = server.Close() })
			go pass(server, from, silent)
			go pass(from, server, silent)
		}
	}()
	return l.Addr().String(), silent
}

func pass(to io.Writer, from io.Reader, silent *atomic.Bool) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if silent.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A watch on an API server whose packets are dropped ends in time for a leader to know that it is cut off.
func TestSilentServerIsNoticed(t *testing.T) {
	noticeSilence()
	watching := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(watching)
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	address, silent := swallow(t, server.Listener.Addr().String())
	client, err := rest.HTTPClientFor(&rest.Config{
		Host: "https://" + address, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !strings.HasPrefix(resp.Proto, "HTTP/2") {
		t.Fatalf("the API is spoken to by %s", resp.Proto)
	}
	<-watching
	silent.Store(true)
	began := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(resp.Body)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the watch ends as if it were complete")
		}
	case <-time.After(10 * time.Second):
		t.Errorf("nothing is noticed within %s", time.Since(began))
	}
}
