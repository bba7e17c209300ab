package extension_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/envoyproxy/gateway/proto/extension"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/extension"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/test/extensionserver"
)

const patience = 20 * time.Second

// asker is a caller with what was delivered.
type asker struct {
	*extension.Caller
	mu      sync.Mutex
	answers map[model.Call]model.Answer
	news    chan struct{}
}

// newAsker runs a caller of one server, which change may change.
func newAsker(t *testing.T, s *extensionserver.Server, change func(*extension.Options)) *asker {
	t.Helper()
	a := &asker{answers: map[model.Call]model.Answer{}, news: make(chan struct{}, 1)}
	opts := extension.Options{
		Servers: []envoygateway.ExtensionServer{{
			ExtensionManager: model.ExtensionManager{Name: "x"}, Target: "passthrough:///" + s.Address,
			Authority: "127.0.0.1", MaxMessage: 1 << 20,
			Retry: envoygateway.RetryPolicy{
				Attempts: 2, Initial: time.Millisecond, Max: time.Millisecond, Multiplier: 1, Codes: []string{"UNAVAILABLE"},
			},
		}},
		Pause: 20 * time.Millisecond,
		Deliver: func(call model.Call, answer model.Answer) {
			a.mu.Lock()
			a.answers[call] = answer
			a.mu.Unlock()
			select {
			case a.news <- struct{}{}:
			default:
			}
		},
	}
	if change != nil {
		change(&opts)
	}
	caller, err := extension.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	a.Caller = caller
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		caller.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return a
}

// until waits for an answer that is as it should be.
func (a *asker) until(t *testing.T, call model.Call, good func(model.Answer) bool) model.Answer {
	t.Helper()
	deadline := time.After(patience)
	for {
		a.mu.Lock()
		got, ok := a.answers[call]
		a.mu.Unlock()
		if ok && good(got) {
			return got
		}
		select {
		case <-a.news:
		case <-deadline:
			t.Fatalf("no such answer: %+v", got)
		}
	}
}

func failedWith(text string) func(model.Answer) bool {
	return func(a model.Answer) bool { return strings.Contains(a.Error, text) }
}

func changed(a model.Answer) bool { return a.Error == "" && a.Data != nil }

// routeCall asks about a route of a name.
func routeCall(t *testing.T, name string) model.Call {
	t.Helper()
	data, err := proto.Marshal(&pb.PostRouteModifyRequest{Route: &routev3.Route{
		Name: name, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return model.NewCall(model.CallSpec{Manager: "x", Hook: model.HookRoute, Request: string(data), About: name})
}

// respond has routes answer with a status.
func respond(status uint32) func(*pb.PostRouteModifyRequest) (*routev3.Route, error) {
	return func(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
		q.Route.GetDirectResponse().Status = status
		return q.GetRoute(), nil
	}
}

func statusOf(t *testing.T, a model.Answer) uint32 {
	t.Helper()
	var route routev3.Route
	if err := proto.Unmarshal(a.Data, &route); err != nil {
		t.Fatal(err)
	}
	return route.GetDirectResponse().GetStatus()
}

func started(t *testing.T, b extensionserver.Behaviour, options ...grpc.ServerOption) *extensionserver.Server {
	t.Helper()
	s := extensionserver.New("127.0.0.1:0", b, options...)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// A server that is not there is asked again until it is, and everything anew when it has been away: then it may be
// another version. What it has answered is not asked again otherwise.
func TestServerThatComesAndGoes(t *testing.T) {
	s := started(t, extensionserver.Behaviour{Route: respond(201)})
	s.Stop()
	a := newAsker(t, s, nil)
	call := routeCall(t, "r")
	a.Want(call, true)
	a.until(t, call, failedWith("Unavailable"))
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := a.Settle(soon); err == nil || !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("settled without a server: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, a.until(t, call, changed)); got != 201 {
		t.Errorf("status %d", got)
	}
	if err := a.Settle(t.Context()); err != nil {
		t.Errorf("not settled: %v", err)
	}
	if n := s.Calls("Route", "r"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	s.Stop()
	s.Behave(extensionserver.Behaviour{Route: respond(202)})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	a.until(t, call, func(got model.Answer) bool { return changed(got) && statusOf(t, got) == 202 })
}

// What a server refuses, or answers that cannot be used, is told in its words.
func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*pb.PostRouteModifyRequest) (*routev3.Route, error)
		want   string
	}{
		"refusal": {func(*pb.PostRouteModifyRequest) (*routev3.Route, error) {
			return nil, errors.New("not to my taste")
		}, "not to my taste"},
		"invalid": {func(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
			q.Route.Match = nil
			return q.GetRoute(), nil
		}, "the answer is not valid"},
		"large": {func(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
			q.Route.Name = strings.Repeat("x", 2<<20)
			return q.GetRoute(), nil
		}, "ResourceExhausted"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t, started(t, extensionserver.Behaviour{Route: c.answer}), nil)
			call := routeCall(t, "r")
			a.Want(call, true)
			a.until(t, call, failedWith(c.want))
		})
	}
}

// A listener that comes back under another name would be another listener: it is refused.
func TestRenamedResourceIsRefused(t *testing.T) {
	a := newAsker(t, started(t, extensionserver.Behaviour{
		Listener: func(*pb.PostHTTPListenerModifyRequest) (*listenerv3.Listener, error) {
			return &listenerv3.Listener{Name: "other"}, nil
		},
	}), nil)
	data, err := proto.Marshal(&pb.PostHTTPListenerModifyRequest{Listener: &listenerv3.Listener{Name: "tcp/80"}})
	if err != nil {
		t.Fatal(err)
	}
	call := model.NewCall(model.CallSpec{Manager: "x", Hook: model.HookHTTPListener, Request: string(data)})
	a.Want(call, true)
	a.until(t, call, failedWith(`the answer is named "other", not "tcp/80"`))
}

// A server that does not answer is not waited for, and holds up no more than its own calls; those that are not wanted
// any more are given up.
func TestSlowServer(t *testing.T) {
	end := make(chan struct{})
	s := started(t, extensionserver.Behaviour{Wait: func(context.Context) { <-end }})
	t.Cleanup(func() { close(end) })
	a := newAsker(t, s, func(o *extension.Options) { o.Timeout = 50 * time.Millisecond })
	for i := range 40 {
		call := routeCall(t, fmt.Sprint("unwanted", i))
		a.Want(call, true)
		a.Want(call, false)
	}
	call := routeCall(t, "r")
	a.Want(call, true)
	a.until(t, call, failedWith("DeadlineExceeded"))
	s.Behave(extensionserver.Behaviour{Route: respond(201)})
	a.until(t, call, changed)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.answers) != 1 {
		t.Errorf("%d answers, want that to the call which is wanted", len(a.answers))
	}
}

// TLS goes by the Secrets that there are when a connection is made.
func TestServerWithTLS(t *testing.T) {
	ca, cert, key := extensionserver.Certificates(t)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := started(t, extensionserver.Behaviour{Route: respond(201)}, grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: extensionserver.Pool(ca),
	})))
	var mu sync.Mutex
	secrets := map[model.Name]map[string][]byte{
		{Namespace: "own", Name: "ca"}: {"tls.crt": []byte("no certificate")},
		{Namespace: "n", Name: "me"}:   {"tls.crt": cert, "tls.key": key},
	}
	a := newAsker(t, s, func(o *extension.Options) {
		o.Servers[0].CA, o.Servers[0].Client = &model.Name{Name: "ca"}, &model.Name{Namespace: "n", Name: "me"}
		o.Namespace = "own"
		o.Secret = func(name model.Name) map[string][]byte {
			mu.Lock()
			defer mu.Unlock()
			return secrets[name]
		}
	})
	call := routeCall(t, "r")
	a.Want(call, true)
	a.until(t, call, failedWith("has no CA certificate"))
	mu.Lock()
	secrets[model.Name{Namespace: "own", Name: "ca"}] = map[string][]byte{"tls.crt": ca}
	mu.Unlock()
	a.until(t, call, changed)
}
