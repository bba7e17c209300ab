package peer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/peer"
)

// serve serves a hub on an address, or a free one.
func serve(t *testing.T, hub *peer.Hub, address string) (where string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	hub.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String(), server.Stop
}

func anybody(context.Context) error { return nil }

// listenerTo keeps a book of what the hubs at the addresses say.
type listenerTo struct {
	*peer.Mesh
	mu   sync.Mutex
	book *peer.Book
	// refused counts what is refused there.
	refused map[peer.Subject]bool
	reports int
}

func listenTo(t *testing.T, replica string, addresses ...string) *listenerTo {
	t.Helper()
	l := &listenerTo{book: peer.NewBook("1"), refused: map[peer.Subject]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	l.Mesh = peer.NewMesh(ctx, peer.MeshOptions{
		Replica: replica, Credentials: insecure.NewCredentials(), Away: 200 * time.Millisecond, Heard: l.heard,
		Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		cancel()
		l.Wait()
	})
	l.Follow(addresses)
	return l
}

func (l *listenerTo) heard(r peer.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports++
	for _, s := range l.book.Take(r) {
		if s.Kind == peer.Resource {
			l.refused[s] = len(l.book.About(s)) > 0
		}
	}
}

func (l *listenerTo) verdict() peer.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.Listener(listener, 7)
}

func (l *listenerTo) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.Empty()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestReplicasHearEachOther(t *testing.T) {
	hub := peer.NewHub("a", "1", anybody)
	hub.Say(peer.Statement{Subject: envoys})
	hub.Say(has(7, peer.Pending))
	address, stop := serve(t, hub, "127.0.0.1:0")
	l := listenTo(t, "b", address)
	eventually(t, "what was said before is heard", func() bool { return l.verdict() == peer.Verdict{Behind: true} })
	hub.Say(has(7, peer.Live))
	eventually(t, "news are heard", func() bool { return l.verdict() == peer.Verdict{Live: true} })
	hub.Say(peer.Statement{Subject: listener, Withdrawn: true})
	eventually(t, "a withdrawal is heard", func() bool { return l.verdict() == peer.Verdict{Behind: true} })

	stop()
	eventually(t, "a replica that is away is forgotten", l.empty)
	again := peer.NewHub("a2", "1", anybody)
	again.Say(has(7, peer.Programmed))
	serve(t, again, address)
	eventually(t, "it is heard again", func() bool { return l.verdict() == peer.Verdict{Live: true} })
	l.Follow(nil)
	eventually(t, "a replica that is not there is forgotten at once", l.empty)
}

// More than fits into one message, with words that are too long, arrives as one first report.
func TestManyStatements(t *testing.T) {
	hub := peer.NewHub("a", "1", anybody)
	const n = 2000
	for i := range n {
		hub.Say(wordy(i))
	}
	address, _ := serve(t, hub, "127.0.0.1:0")
	l := listenTo(t, "b", address)
	count := func(want bool) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		found := 0
		for _, refused := range l.refused {
			if refused == want {
				found++
			}
		}
		return found
	}
	eventually(t, "all is heard", func() bool { return count(true) == n })
	if l.reports != 1 {
		t.Errorf("the first report comes in %d pieces, which are not true by themselves", l.reports)
	}
	for i := range n {
		st := wordy(i)
		hub.Say(peer.Statement{Subject: st.Subject, Withdrawn: true})
	}
	eventually(t, "all is withdrawn", func() bool { return count(false) == n })
}

func TestAReplicaDoesNotHearItself(t *testing.T) {
	hub := peer.NewHub("a", "1", anybody)
	hub.Say(has(7, peer.Live))
	other := peer.NewHub("b", "1", anybody)
	other.Say(peer.Statement{Subject: envoys})
	own, _ := serve(t, hub, "127.0.0.1:0")
	address, _ := serve(t, other, "127.0.0.1:0")
	l := listenTo(t, "a", own, address)
	eventually(t, "the other one is heard", func() bool { return l.verdict().Behind })
	if l.verdict().Live {
		t.Error("it hears itself")
	}
}

// Who is refused is told so, and the mesh survives it.
func TestWhoMayNotListenHearsNothing(t *testing.T) {
	asked := make(chan struct{}, 100)
	hub := peer.NewHub("a", "1", func(context.Context) error {
		asked <- struct{}{}
		return status.Error(codes.PermissionDenied, "you are no replica")
	})
	hub.Say(has(7, peer.Live))
	address, _ := serve(t, hub, "127.0.0.1:0")
	l := listenTo(t, "b", address)
	for range 2 { // it tries again, after a pause
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			t.Fatal("it does not ask")
		}
	}
	if !l.empty() {
		t.Error("it hears what it may not")
	}
}

// A replica of a newer version says things that are not known here, in messages with fields that are not known here.
func TestAnotherVersionIsUnderstoodWhereItCanBe(t *testing.T) {
	hub := peer.NewHub("a", "2", anybody)
	for i := range 10 {
		hub.Say(peer.Statement{Subject: peer.Subject{Kind: peer.Kind(fmt.Sprint("future", i)), Name: "x"}, Message: "?"})
	}
	hub.Say(peer.Statement{Subject: envoys})
	hub.Say(has(99, peer.Live))
	address, _ := serve(t, hub, "127.0.0.1:0")
	l := listenTo(t, "b", address)
	eventually(t, "it is understood", func() bool { return l.verdict() == peer.Verdict{Live: true} })
}
