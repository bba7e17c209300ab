package extension

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/stats"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// maxRunning is how many calls one server is asked at a time.
	maxRunning = 16
	// patience is how many times longer than the first the longest pause after failures is.
	patience = 10
)

// errNotAsked is what is known of a call that has not been made yet.
var errNotAsked = errors.New("it has not been asked yet")

// server is one extension server with the calls that are wanted of it.
type server struct {
	caller *Caller
	spec   envoygateway.ExtensionServer
	conn   *grpc.ClientConn
	// woken holds a token while there is something to look at.
	woken chan struct{}

	mu    sync.Mutex
	calls map[model.Call]*call
	// queue are the calls that wait for their turn.
	queue   []model.Call
	running int
	// busy are the proxies of which a translation is being asked for.
	busy map[string]bool
	// epoch counts the connections to the server.
	epoch int
	// pause is what to wait before what has failed is repeated, retry when that is; zero while nothing has failed.
	pause time.Duration
	retry time.Time
	// down says that it has been logged that the server cannot be asked.
	down bool
}

// call is what is known of a call that is wanted.
type call struct {
	queued, running, failed, gone bool
	cancel                        context.CancelFunc
	// epoch is that of the connection after which it was answered, answer what was delivered; nil if nothing was.
	epoch  int
	answer *model.Answer
}

func newServer(c *Caller, spec envoygateway.ExtensionServer) (*server, error) {
	s := &server{
		caller: c, spec: spec, woken: make(chan struct{}, 1), calls: map[model.Call]*call{}, pause: c.opts.Pause,
		busy: map[string]bool{},
	}
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	s.conn, err = grpc.NewClient(spec.Target, append(options, grpc.WithStatsHandler(s))...)
	return s, err
}

func (s *server) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *server) want(key model.Call, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wake()
	known := s.calls[key]
	switch {
	case wanted && known == nil:
		s.calls[key] = &call{}
		s.enqueue(key)
	case wanted:
		known.gone = false
	case known == nil:
	case known.running && key.Spec().Hook == model.HookTranslation:
		// The next one is asked behind it. If each cancelled the one before, none would ever be answered while
		// configuration keeps changing.
		known.gone = true
	default:
		if known.cancel != nil {
			known.cancel()
		}
		s.forget(key)
	}
}

// forget drops a call. The caller holds the lock.
func (s *server) forget(key model.Call) {
	delete(s.calls, key)
	s.queue = slices.DeleteFunc(s.queue, func(k model.Call) bool { return k == key })
}

// enqueue has a call made when it is its turn. The caller holds the lock.
func (s *server) enqueue(key model.Call) {
	if c := s.calls[key]; !c.queued && !c.running {
		c.queued = true
		s.queue = append(s.queue, key)
	}
}

// run makes calls until the context ends.
func (s *server) run(ctx context.Context) {
	var running sync.WaitGroup
	defer func() { _ = s.conn.Close() }()
	defer running.Wait()
	watching := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
		case <-timer.C:
		}
		s.mu.Lock()
		s.repeat(time.Now())
		for key := s.next(); key != (model.Call{}); key = s.next() {
			if !watching {
				watching = true
				running.Go(func() { s.stayConnected(ctx) })
			}
			own, cancel := context.WithTimeout(ctx, s.caller.opts.Timeout)
			c := s.calls[key]
			c.queued, c.running, c.cancel = false, true, cancel
			s.running++
			running.Go(func() {
				defer cancel()
				s.ask(own, key)
			})
		}
		if !s.retry.IsZero() {
			timer.Reset(time.Until(s.retry))
		}
		s.mu.Unlock()
	}
}

// repeat has the calls made again that failed, if it is time to. The caller holds the lock.
func (s *server) repeat(now time.Time) {
	if s.retry.IsZero() || now.Before(s.retry) {
		return
	}
	s.retry = time.Time{}
	var failed []model.Call
	for key, c := range s.calls {
		if c.failed {
			failed = append(failed, key)
		}
	}
	slices.SortFunc(failed, model.Call.Compare)
	for _, key := range failed {
		s.enqueue(key)
	}
}

// next takes a call out of the queue that can be made now. Of the translations of one proxy one is made at a time. The
// caller holds the lock.
func (s *server) next() model.Call {
	if s.running >= maxRunning {
		return model.Call{}
	}
	for i, key := range s.queue {
		spec := key.Spec()
		switch {
		case spec.Hook != model.HookTranslation:
		case s.busy[spec.About]:
			continue
		default:
			s.busy[spec.About] = true
		}
		if i == 0 {
			s.queue = s.queue[1:]
		} else {
			s.queue = slices.Delete(s.queue, i, i+1)
		}
		return key
	}
	return model.Call{}
}

// ask makes a call, and takes in what became of it.
func (s *server) ask(ctx context.Context, key model.Call) {
	spec := key.Spec()
	answer, err := s.call(ctx, spec)
	s.mu.Lock()
	s.running--
	if spec.Hook == model.HookTranslation {
		delete(s.busy, spec.About)
	}
	c := s.calls[key]
	if c == nil || !c.running { // it is not wanted any more
		s.mu.Unlock()
		s.wake()
		return
	}
	c.running, c.cancel, c.failed, c.epoch = false, nil, err != nil, s.epoch
	s.note(err)
	if err != nil {
		answer = model.Answer{Error: err.Error()}
	}
	// What was answered once stays if it cannot be asked anew.
	stays := c.answer != nil && (err != nil && c.answer.Error == "" || same(*c.answer, answer))
	if !stays {
		c.answer = &answer
	}
	if c.gone {
		s.forget(key)
	}
	s.mu.Unlock()
	s.wake()
	if !stays {
		s.caller.answered(key, answer, unreachable(err))
	}
}

// note takes in whether the server could be asked. The caller holds the lock.
func (s *server) note(err error) {
	switch {
	case err == nil:
		s.pause = s.caller.opts.Pause
		if s.down {
			s.down = false
			s.caller.opts.Log.Info("The extension server can be asked again", "server", s.spec.Name)
		}
	default:
		if !s.down {
			s.down = true
			s.caller.opts.Log.Warn("The extension server cannot be asked; it is tried again",
				"server", s.spec.Name, "error", err)
		}
		if s.retry.IsZero() {
			s.retry = time.Now().Add(s.pause)
			s.pause = min(2*s.pause, patience*s.caller.opts.Pause)
		}
	}
}

func same(a, b model.Answer) bool {
	return a.Error == b.Error && (a.Data == nil) == (b.Data == nil) && string(a.Data) == string(b.Data)
}

// stayConnected connects again whenever the connection has ended, so that it is noticed when the server is back.
func (s *server) stayConnected(ctx context.Context) {
	for {
		state := s.conn.GetState()
		if state == connectivity.Idle {
			s.conn.Connect()
		}
		if !s.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// TagRPC, HandleRPC and TagConn are those of [stats.Handler]; they do nothing.
func (s *server) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC does nothing.
func (s *server) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn does nothing.
func (s *server) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn has everything asked anew on a new connection, before that is used.
func (s *server) HandleConn(_ context.Context, e stats.ConnStats) {
	if _, ok := e.(*stats.ConnBegin); !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.pause = s.caller.opts.Pause
	var again []model.Call
	for key, c := range s.calls {
		if c.answer != nil && c.epoch < s.epoch {
			again = append(again, key)
		}
	}
	slices.SortFunc(again, model.Call.Compare)
	for _, key := range again {
		s.enqueue(key)
	}
	s.wake()
}
