package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// chunk is how many statements are in one message, at most. With the bound of their words that is less than half of
// the 4 MiB that a gRPC client takes.
const chunk = 256

// message is what goes over the wire, as JSON in a BytesValue. A field that one side does not know is ignored, so that
// replicas of different versions understand each other in what both know.
type message struct {
	// Replica tells processes apart, Build is the version of Sluice.
	Replica string `json:"replica"`
	Build   string `json:"build"`
	// More says that the statements of the first report go on in the next message.
	More       bool        `json:"more,omitempty"`
	Statements []Statement `json:"statements,omitempty"`
	// Beats says that another message follows within a [Beat], whether there is anything to say or not.
	Beats bool `json:"beats,omitempty"`
	// Silence is for how many milliseconds the replica has not heard from the API server, nil if it does not say.
	Silence *int64 `json:"silence,omitempty"`
}

// Beat is how often a replica lets the others know that it is there, and when it last heard from the API server.
const Beat = time.Second

// Hub is where a replica offers what it holds true. It is safe for concurrent use.
type Hub struct {
	replica, build string
	authorize      func(context.Context) error

	mu       sync.Mutex
	said     map[Subject]Statement
	watchers map[*watcher]struct{}
	contact  func() time.Time
}

// watcher is a replica that listens.
type watcher struct {
	// news are the subjects about which it has to be told.
	news map[Subject]struct{}
	wake chan struct{} // holds one token while there are news
}

// NewHub returns the hub of a replica that has said nothing yet. replica is unique to the process, build the version
// of Sluice. authorize says with an error, best with a gRPC status, who may not listen: the context is that of the
// stream, with its peer.
func NewHub(replica, build string, authorize func(context.Context) error) *Hub {
	return &Hub{
		replica: replica, build: build, authorize: authorize,
		said: map[Subject]Statement{}, watchers: map[*watcher]struct{}{},
	}
}

// Tell has the others told when this replica last heard from the API server. Without it they are not.
func (h *Hub) Tell(contact func() time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.contact = contact
}

// Say tells all who listen, now or later. It does not block.
func (h *Hub) Say(st Statement) {
	st = st.bounded()
	h.mu.Lock()
	defer h.mu.Unlock()
	old, had := h.said[st.Subject]
	switch {
	case st.Withdrawn && !had || had && old == st:
		return
	case st.Withdrawn:
		delete(h.said, st.Subject)
	default:
		h.said[st.Subject] = st
	}
	for w := range h.watchers {
		w.news[st.Subject] = struct{}{}
		w.nudge()
	}
}

func (w *watcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// The service: one method, which streams from the server.
const (
	serviceName = "sluice.peer.v1.Replica"
	methodName  = "Listen"
)

// service is what the description of the service wants the hub to be.
type service interface {
	listen(stream grpc.ServerStream) error
}

var description = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*service)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: methodName, ServerStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error { return srv.(service).listen(stream) },
	}},
}

// Register adds the hub's service to a gRPC server.
func (h *Hub) Register(server *grpc.Server) { server.RegisterService(&description, h) }

// listen serves one replica until it goes.
func (h *Hub) listen(stream grpc.ServerStream) error {
	ctx := stream.Context()
	if err := h.authorize(ctx); err != nil {
		return err
	}
	if err := stream.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
		return fmt.Errorf("no request: %w", err)
	}
	w := h.watch()
	defer h.unwatch(w)
	beat := time.NewTicker(Beat)
	defer beat.Stop()
	for first, due := true, true; ; {
		statements, more := h.next(w)
		if due || len(statements) > 0 {
			if err := h.send(stream, statements, first && more); err != nil {
				return err
			}
		}
		if more {
			continue
		}
		first, due = false, false
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-w.wake:
		case <-beat.C:
			due = true
		}
	}
}

func (h *Hub) watch() *watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &watcher{news: make(map[Subject]struct{}, len(h.said)), wake: make(chan struct{}, 1)}
	for s := range h.said {
		w.news[s] = struct{}{}
	}
	h.watchers[w] = struct{}{}
	return w
}

func (h *Hub) unwatch(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// next returns what a replica is to be told next, and whether there is more. Their order is of no matter: each
// statement is true by itself, and those of the first report are taken together.
func (h *Hub) next(w *watcher) (statements []Statement, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range w.news {
		if len(statements) == chunk {
			return statements, true
		}
		delete(w.news, s)
		st, ok := h.said[s]
		if !ok {
			st = Statement{Subject: s, Withdrawn: true}
		}
		statements = append(statements, st)
	}
	return statements, false
}

func (h *Hub) send(stream grpc.ServerStream, statements []Statement, more bool) error {
	data, err := json.Marshal(message{
		Replica: h.replica, Build: h.build, More: more, Statements: statements, Beats: true, Silence: h.silence(),
	})
	if err != nil {
		return fmt.Errorf("statements: %w", err)
	}
	return stream.SendMsg(wrapperspb.Bytes(data)) //nolint:wrapcheck // a gRPC status, for gRPC
}

// silence is for how many milliseconds the API server has not been heard, nil if it never was.
func (h *Hub) silence() *int64 {
	h.mu.Lock()
	contact := h.contact
	h.mu.Unlock()
	if contact == nil {
		return nil
	}
	last := contact()
	if last.IsZero() {
		return nil
	}
	ms := time.Since(last).Milliseconds()
	return &ms
}
