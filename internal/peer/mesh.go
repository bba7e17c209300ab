package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	// DefaultAway is how long a replica is silent before what it said is forgotten, if [MeshOptions] do not say: its
	// Envoys notice at about the same time, and turn to others.
	DefaultAway = 3 * time.Second
	// firstPause and lastPause are the bounds of the pause before a replica that does not answer as it should is asked
	// again.
	firstPause, lastPause = 500 * time.Millisecond, 30 * time.Second
	// missed is how long a replica that sends beats may send nothing before it is taken for silent, though its connection
	// looks well.
	missed = 4 * Beat
	// selfPause is how long an address that turned out to be this replica's own is left alone.
	selfPause = 5 * time.Minute
)

// MeshOptions configure a [Mesh].
type MeshOptions struct {
	// Replica is unique to the process, as in [NewHub].
	Replica string
	// Credentials are those with which the hubs of others are asked.
	Credentials credentials.TransportCredentials
	// Away is how long what a replica said stays true after it went silent. 0 means DefaultAway.
	Away time.Duration
	// Heard is told what others say. It is called from several goroutines.
	Heard func(Report)
	// Log is told who is heard.
	Log *slog.Logger
}

// Mesh listens to the hubs of the other replicas. It is safe for concurrent use.
type Mesh struct {
	options MeshOptions

	mu      sync.Mutex
	ctx     context.Context
	running sync.WaitGroup
	stops   map[string]context.CancelFunc

	contacts contacts
}

// NewMesh returns a mesh that listens to nobody yet, and to none any more once the context ends.
func NewMesh(ctx context.Context, o MeshOptions) *Mesh {
	if o.Away == 0 {
		o.Away = DefaultAway
	}
	return &Mesh{
		options: o, ctx: ctx, stops: map[string]context.CancelFunc{}, contacts: contacts{by: map[string]contact{}},
	}
}

// Contact returns when a replica that can be heard last heard from the API server: the latest of them. It is zero if
// there is none.
func (m *Mesh) Contact() time.Time { return m.contacts.latest() }

// Follow says where the replicas are, as host:port. This one may be among them. What those said that are not there any
// more is forgotten.
func (m *Mesh) Follow(addresses []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := map[string]bool{}
	for _, address := range addresses {
		now[address] = true
		if _, ok := m.stops[address]; ok || m.ctx.Err() != nil {
			continue
		}
		ctx, stop := context.WithCancel(m.ctx)
		m.stops[address] = stop
		m.running.Go(func() { m.follow(ctx, address) })
	}
	for address, stop := range m.stops {
		if !now[address] {
			stop()
			delete(m.stops, address)
		}
	}
}

// Wait returns when the mesh's context is over and nobody is listened to any more.
func (m *Mesh) Wait() {
	<-m.ctx.Done()
	m.mu.Lock() // after a Follow that is under way; a later one starts nothing
	defer m.mu.Unlock()
	m.running.Wait()
}

// errSelf says that an address is that of this replica.
var errSelf = errors.New("that is this replica")

// follow listens to the replica at an address until the context ends.
func (m *Mesh) follow(ctx context.Context, address string) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(m.options.Credentials),
		// A replica that vanished is noticed, though it has nothing to say.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		m.options.Log.Error("A replica cannot be asked", "address", address, "error", err)
		return
	}
	defer func() { _ = conn.Close() }()
	e := &ear{mesh: m, address: address}
	defer e.forget()
	for pause := firstPause; ; {
		err := e.listen(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		e.lose()
		switch {
		case errors.Is(err, errSelf):
			pause = selfPause
		case e.heard:
			pause = firstPause
			m.options.Log.Info("A replica is not heard any more", "address", address, "error", err)
		default:
			m.options.Log.Debug("A replica is not heard", "address", address, "error", err)
		}
		e.heard = false
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

// ear listens to one replica.
type ear struct {
	mesh    *Mesh
	address string
	// heard says that it was heard since it was asked last.
	heard bool

	mu sync.Mutex
	// losing is under way while the replica is silent.
	losing *time.Timer
	// known says that something that it said is held true.
	known bool
}

// listen asks the replica once, and listens until it is silent.
func (e *ear) listen(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &description.Streams[0], "/"+serviceName+"/"+methodName, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	if err := stream.SendMsg(wrapperspb.Bytes(nil)); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	if err := stream.CloseSend(); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	first := Report{Whole: true}
	silent := time.AfterFunc(missed, cancel)
	silent.Stop()
	defer silent.Stop()
	for {
		got, err := receive(stream)
		if err != nil {
			return err
		}
		if got.Replica == e.mesh.options.Replica {
			return errSelf
		}
		if got.Beats {
			silent.Reset(missed)
		}
		e.mesh.contacts.note(e.address, got)
		switch {
		case first.Whole:
			first.Build = got.Build
			first.Statements = append(first.Statements, got.Statements...)
			if got.More {
				continue
			}
			e.mesh.options.Log.Info("A replica is heard", "address", e.address, "build", got.Build)
			e.tell(first)
			first = Report{}
		case len(got.Statements) > 0:
			e.tell(Report{Build: got.Build, Statements: got.Statements})
		}
	}
}

func receive(stream grpc.ClientStream) (message, error) {
	var raw wrapperspb.BytesValue
	if err := stream.RecvMsg(&raw); err != nil {
		return message{}, fmt.Errorf("listening: %w", err)
	}
	var out message
	if err := json.Unmarshal(raw.Value, &out); err != nil {
		return message{}, fmt.Errorf("a message that is not understood: %w", err)
	}
	return out, nil
}

// tell passes on what was heard.
func (e *ear) tell(r Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = true
	if e.losing != nil {
		e.losing.Stop()
		e.losing = nil
	}
	e.known = true
	r.From = e.address
	e.mesh.options.Heard(r)
}

// lose has what was heard forgotten, if nothing else is heard in time.
func (e *ear) lose() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known || e.losing != nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(e.mesh.options.Away, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.losing == timer {
			e.drop()
		}
	})
	e.losing = timer
}

// forget has what was heard forgotten at once.
func (e *ear) forget() {
	e.mesh.contacts.drop(e.address)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop()
}

// drop forgets what was heard. The caller holds the lock.
func (e *ear) drop() {
	if e.losing != nil {
		e.losing.Stop()
		e.losing = nil
	}
	if e.known {
		e.known = false
		e.mesh.options.Heard(Report{From: e.address, Whole: true})
	}
}
