package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// fault is what a pipe does to what goes through it.
type fault int

const (
	// passing does nothing.
	passing fault = iota
	// killed refuses connections and has ended those that there were, as a process that is not there.
	killed
	// hung takes connections and whatever is sent, and passes nothing on, as a process that is stopped.
	hung
	// slow passes everything on, a moment later.
	slow
)

var faultNames = [...]string{"none", "killed", "hung", "slow"}

func (f fault) String() string { return faultNames[f] }

// pipe stands between those under test and a service that they depend on. It is safe for concurrent use.
type pipe struct {
	port   int
	target string

	mu      sync.Mutex
	changed *sync.Cond
	now     fault
	delay   time.Duration
	listen  net.Listener
	conns   map[net.Conn]struct{}
	closed  bool
}

// pipe makes a pipe to a port of this machine, which passes everything on. It ends with the drill.
func (f *field) pipe(port int) (*pipe, error) {
	own, err := f.freePort()
	if err != nil {
		return nil, err
	}
	p := &pipe{port: own, target: fmt.Sprintf("127.0.0.1:%d", port), conns: map[net.Conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	f.cleanup(p.close)
	return p, p.be(passing, 0)
}

// be changes what the pipe does; delay is for slow.
func (p *pipe) be(now fault, delay time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.delay = now, delay
	p.changed.Broadcast()
	if now == killed {
		p.cut()
		return nil
	}
	if p.listen != nil {
		return nil
	}
	var err error
	if p.listen, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.port)); err != nil {
		return err
	}
	go p.accept(p.listen)
	return nil
}

// cut ends all connections and takes no more. The caller holds the lock.
func (p *pipe) cut() {
	if p.listen != nil {
		_ = p.listen.Close()
		p.listen = nil
	}
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
	p.cut()
}

func (p *pipe) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go p.join(conn)
	}
}

// join connects a connection to the target.
func (p *pipe) join(from net.Conn) {
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = from.Close()
		return
	}
	p.mu.Lock()
	if p.closed || p.now == killed {
		p.mu.Unlock()
		_, _ = from.Close(), to.Close()
		return
	}
	p.conns[from], p.conns[to] = struct{}{}, struct{}{}
	p.mu.Unlock()
	go p.forward(to, from)
	p.forward(from, to)
}

// forward passes on what one side sends, as the pipe is at that moment.
func (p *pipe) forward(to io.WriteCloser, from io.ReadCloser) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.wait() {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// wait returns when something may be passed on, and whether it still makes sense.
func (p *pipe) wait() bool {
	p.mu.Lock()
	for p.now == hung && !p.closed {
		p.changed.Wait()
	}
	delay, closed := time.Duration(0), p.closed
	if p.now == slow {
		delay = p.delay
	}
	p.mu.Unlock()
	time.Sleep(delay)
	return !closed
}

// serve serves HTTP on a port of its own until the drill ends, behind a pipe.
func (f *field) serve(handler http.Handler) (*pipe, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // it ends with Close
	f.cleanup(func() { _ = server.Close() })
	return f.pipe(l.Addr().(*net.TCPAddr).Port)
}

// outage is a fault with how long it lasts.
type outage struct {
	fault
	delay time.Duration
}

// outages are the faults of a service that answers a request in time unless something is wrong.
func outages(late time.Duration) []outage {
	return []outage{{killed, 0}, {hung, 0}, {slow, late}}
}

// during has a pipe be faulty while something is done.
func (p *pipe) during(ctx context.Context, o outage, do func(context.Context) error) error {
	if err := p.be(o.fault, o.delay); err != nil {
		return err
	}
	err := do(ctx)
	if healed := p.be(passing, 0); err == nil {
		err = healed
	}
	return err
}
