package xds

import (
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	// Connected is an Envoy that opened a stream and was authorized.
	Connected EventKind = iota
	// Disconnected is the end of a stream.
	Disconnected
	// Pushed is one response sent to one Envoy: Type, Version, Bytes and Resources are set.
	Pushed
	// Acked is Envoy's ACK of a response; Took is the time since it was sent. For clusters that includes warming.
	Acked
	// Rejected is one resource, or one part of it, that Envoy refuses: Type, Resource, Part, Hash, Owners and Message
	// are set. It is reported once for a hash, whatever the number of Envoys that refuse it.
	Rejected
	// Live is a version that every connected Envoy of the proxy has ACKed; Took is the time since its Update.
	Live
	// Failed is a stream that ended because of a bug: its handler panicked. Message has the panic and its stack.
	Failed
)

var eventNames = [...]string{"connected", "disconnected", "pushed", "acked", "rejected", "live", "failed"}

// String returns the kind in lower case: connected, disconnected, pushed, acked, rejected, live, failed.
func (k EventKind) String() string { return eventNames[k] }

// Event is something that the server did or learned. Fields that a kind does not name are zero.
type Event struct {
	Kind  EventKind
	Proxy model.ProxyName
	// Node is the id of the Envoy's node; empty for Live.
	Node string
	Type Type
	// Version is that of the proxy's newest Update that the event covers.
	Version uint64
	// Resource is the name of the resource, Part that of the virtual host in it; Part is empty when the resource as a
	// whole is meant.
	Resource, Part string
	// Hash is that of the resource or part.
	Hash uint64
	// Owners are the objects to blame.
	Owners []model.Ref
	// Message is Envoy's own, but for Failed.
	Message string
	// Bytes is the size of the response, Resources the number of resources in it, removals included.
	Bytes, Resources int
	Took             time.Duration
}

// queue delivers events in order on a goroutine of its own, which lives only while there is something to deliver. It
// is unbounded, so that a slow observer never delays a push.
type queue struct {
	deliver func(Event)

	mu      sync.Mutex
	events  []Event
	running bool
}

func (q *queue) add(e Event) {
	if q.deliver == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
	if !q.running {
		q.running = true
		go q.drain()
	}
}

func (q *queue) drain() {
	for {
		q.mu.Lock()
		batch := q.events
		q.events = nil
		q.running = len(batch) > 0
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, e := range batch {
			q.deliver(e)
		}
	}
}
