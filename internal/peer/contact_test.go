package peer_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/peer"
)

// muted is a listener whose connections say nothing any more once it is told so, as those of a process that is paused.
type muted struct {
	net.Listener
	silent atomic.Bool
}

type mutedConn struct {
	net.Conn
	by *muted
}

func (m *muted) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	return mutedConn{conn, m}, err
}

func (c mutedConn) Write(p []byte) (int, error) {
	if c.by.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A replica says when it last heard from the API server. When it is silent itself, neither that nor anything else that
// it said counts, though its connection is still there.
func TestContact(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	between := &muted{Listener: l}
	hub := peer.NewHub("a", "1", anybody)
	hub.Say(has(7, peer.Live))
	server := grpc.NewServer()
	hub.Register(server)
	go func() { _ = server.Serve(between) }()
	t.Cleanup(server.Stop)
	heard := listenTo(t, "b", l.Addr().String())
	eventually(t, "what was said is heard", func() bool { return heard.verdict().Live })
	if at := heard.Contact(); !at.IsZero() {
		t.Errorf("a replica that says nothing of the API server heard from it at %s", at)
	}

	var last atomic.Pointer[time.Time]
	hub.Tell(func() time.Time { return *last.Load() })
	for _, ago := range []time.Duration{time.Hour, time.Minute} {
		at := time.Now().Add(-ago)
		last.Store(&at)
		eventually(t, "the last contact is known", func() bool {
			return heard.Contact().Sub(at).Abs() < time.Second
		})
	}

	between.silent.Store(true)
	eventually(t, "the contact of a replica that is silent is forgotten", func() bool { return heard.Contact().IsZero() })
	eventually(t, "what a replica said that is silent is forgotten", heard.empty)
}
