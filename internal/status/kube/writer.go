// Package kube writes statuses to a Kubernetes API server.
//
// A status is shared: other controllers have their own conditions, parents and ancestors in it. Of a status the writer
// writes its own part, and only if that is not already as it should be; what others change in it is put right. Several
// changes of one object in quick succession are one write. Only the leader writes; all others know what they would
// write, so that the next leader writes no more than what is missing.
package kube

import (
	"context"
	"log/slog"
	"reflect"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// interval is the least time between two writes of one object.
	interval = 200 * time.Millisecond
	workers  = 6
	// yield is how long a writer that begins to lead gives way to what is more urgent, at most, and look how often it
	// asks.
	yield, look = 15 * time.Second, 100 * time.Millisecond
	// backoff of an object that cannot be written.
	firstBackoff, lastBackoff = 100 * time.Millisecond, 30 * time.Second
)

// Options say where and what to write.
type Options struct {
	// Config is how the API server is reached.
	Config *rest.Config
	// Controllers are the controllerNames of the entries that are ours.
	Controllers []string
	// Path returns the path of an object in the API; false if its kind is not served.
	Path func(model.Ref) (string, bool)
	// Busy says that something waits that is more urgent than statuses, such as Envoys for their first configuration:
	// what there is to write for a whole cluster takes the API server, and whoever shares a machine with it, a while. It
	// must not hold a lock that is held while a method of the writer is called. nil if there never is.
	Busy func() bool
	// Log is told which statuses cannot be written.
	Log *slog.Logger
}

// Writer keeps the statuses of objects as they should be. It is safe for concurrent use.
type Writer struct {
	owner  owner
	client *client
	busy   func() bool
	log    *slog.Logger
	// metrics count what is written.
	metrics metrics
	// leading is held by the one Lead at a time.
	leading sync.Mutex

	mu      sync.Mutex
	objects map[model.Ref]*object
	// queue is nil while another replica leads.
	queue workqueue.TypedRateLimitingInterface[model.Ref]
}

// object is what is known of an object's status.
type object struct {
	// want is what our part of the status should be, nil for no part.
	want   any
	digest uint64
	// have is the digest of our part as it is, if seen; claims says that it has entries which carry our name, empty that
	// there is nothing in the status at all.
	have                uint64
	seen, claims, empty bool
	// version is the newest resourceVersion that have is known to be of.
	version uint64
	// agreed is what the API server made of our part with the digest agreedOn: it may fill in defaults.
	agreed, agreedOn uint64
	written          time.Time
}

// done says that nothing has to be written.
func (o *object) done() bool {
	if o.want == nil {
		return !o.claims
	}
	return o.seen && (o.have == o.digest || o.agreedOn == o.digest && o.agreed == o.have && o.agreed != 0)
}

// NewWriter returns a writer that does not write yet.
func NewWriter(o Options) (*Writer, error) {
	c, err := newClient(o.Config, o.Path)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	w := &Writer{
		client: c, busy: o.Busy, log: o.Log, metrics: newMetrics(), objects: map[model.Ref]*object{},
		owner: owner{now: time.Now},
	}
	for _, name := range o.Controllers {
		w.owner.controllers = append(w.owner.controllers, gwv1.GatewayController(name))
	}
	return w, nil
}

// Put says what our part of an object's status should be: a pointer to a status of the Gateway API or Envoy Gateway,
// which must not be changed any more. nil says that none of it should be ours.
func (w *Writer) Put(ref model.Ref, status any) {
	var digest uint64
	if status != nil {
		v, ok := structOf(status)
		if !ok {
			w.log.Error("A status is not a struct; this is a bug", "object", ref.String())
			return
		}
		var err error
		if digest, err = w.owner.digest(v); err != nil {
			w.log.Error("A status cannot be written; this is a bug", "object", ref.String(), "error", err)
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[ref]
	if o == nil {
		if status == nil {
			return
		}
		o = &object{}
		w.objects[ref] = o
	}
	o.want, o.digest = status, digest
	w.schedule(ref, o)
}

// Seen says how an object is on the API server, with its status; nil when it is gone.
func (w *Writer) Seen(ref model.Ref, obj metav1.Object) {
	if obj == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.objects, ref)
		return
	}
	field := reflect.ValueOf(obj).Elem().FieldByName("Status")
	if !field.IsValid() {
		return
	}
	v, ok := structOf(field.Interface())
	if !ok {
		return
	}
	have, err := w.owner.digest(v)
	if err != nil {
		w.log.Error("A status cannot be read; this is a bug", "object", ref.String(), "error", err)
		return
	}
	w.saw(ref, sighting{
		digest: have, empty: v.IsZero(), claims: w.owner.claims(v), version: number(obj.GetResourceVersion()),
	})
}

// sighting is a status as it is on the API server.
type sighting struct {
	digest        uint64
	empty, claims bool
	version       uint64
}

// number returns a resourceVersion as the number that it is.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (w *Writer) saw(ref model.Ref, s sighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[ref]
	if o == nil {
		o = &object{}
		w.objects[ref] = o
	}
	if s.version < o.version {
		// The watch lags behind what was written meanwhile.
		return
	}
	o.have, o.claims, o.empty, o.version, o.seen = s.digest, s.claims, s.empty, s.version, true
	w.schedule(ref, o)
}

// schedule queues an object if something is to be written, not before its last write is long enough ago. The caller
// holds the lock.
func (w *Writer) schedule(ref model.Ref, o *object) {
	if w.queue == nil || o.done() {
		return
	}
	w.queue.AddAfter(ref, o.pause())
}

// pause is how long an object has to wait for its next write.
func (o *object) pause() time.Duration { return max(0, interval-time.Since(o.written)) }

// begin says whether an object that was queued is to be written now. One that was written after it was queued waits.
func (w *Writer) begin(ref model.Ref) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[ref]
	if o == nil || o.done() {
		return false
	}
	if o.pause() > 0 {
		w.schedule(ref, o)
		return false
	}
	o.written = time.Now()
	return true
}

// Lead writes what is to be written until the context ends: first everything that is not as it should be. It is called
// once all objects have been [Writer.Seen], and all statuses [Writer.Put].
func (w *Writer) Lead(ctx context.Context) {
	w.leading.Lock()
	defer w.leading.Unlock()
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[model.Ref](firstBackoff, lastBackoff))
	w.mu.Lock()
	w.queue = queue
	for ref, o := range w.objects {
		w.schedule(ref, o)
	}
	w.mu.Unlock()
	until := time.Now().Add(yield)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for w.next(ctx, queue) {
				w.giveWay(ctx, until)
			}
		})
	}
	<-ctx.Done()
	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
	queue.ShutDown()
	running.Wait()
}

// giveWay waits as long as something is more urgent than statuses, at most until a time.
func (w *Writer) giveWay(ctx context.Context, until time.Time) {
	for time.Now().Before(until) && w.busy() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
	}
}

// next writes the next object in the queue. It returns false when the queue is at its end.
func (w *Writer) next(ctx context.Context, queue workqueue.TypedRateLimitingInterface[model.Ref]) bool {
	ref, over := queue.Get()
	if over {
		return false
	}
	defer queue.Done(ref)
	if ctx.Err() != nil || !w.begin(ref) {
		return true
	}
	if err := w.write(ctx, ref); err != nil {
		if ctx.Err() == nil {
			w.metrics.writes.WithLabelValues(resultFailed).Inc()
			w.log.Warn("A status cannot be written; trying again", "object", ref.String(), "error", err)
		}
		queue.AddRateLimited(ref)
		return true
	}
	queue.Forget(ref)
	return true
}
