package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameDrills are those of names that have to be resolved.
var nameDrills = []drill{
	{id: "F39", fault: "DNS answers SERVFAIL, not at all, 5 s late, with a TTL of 0, and NXDOMAIN (as root)",
		promise: "0 requests fail, but those for a name that DNS says does not exist: 503; works within 10 s of its return",
		run:     namesFail},
}

// nameServer is a DNS server that knows one address for all names.
type nameServer struct {
	conn net.PacketConn

	mu sync.Mutex
	// code is what it answers with; silent has it answer nothing, late after that time.
	code   dnsmessage.RCode
	silent bool
	late   time.Duration
	ttl    uint32
	asked  int
}

// nameServerAddress is a loopback address of its own, because the port of a name server cannot be chosen.
const nameServerAddress = "127.39.0.1"

func (f *field) nameServer() (*nameServer, error) {
	conn, err := net.ListenPacket("udp", nameServerAddress+":53")
	if err != nil {
		return nil, err
	}
	f.cleanup(func() { _ = conn.Close() })
	s := &nameServer{conn: conn, ttl: 1}
	go s.serve()
	return s, nil
}

// be changes how the server answers, and returns how often it had been asked before.
func (s *nameServer) be(change func(*nameServer)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.silent, s.late, s.ttl = dnsmessage.RCodeSuccess, false, 0, 1
	change(s)
	return s.asked
}

func (s *nameServer) askedSince(before int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked - before
}

func (s *nameServer) serve() {
	buffer := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) == nil && len(m.Questions) == 1 {
			s.answer(m, from)
		}
	}
}

func (s *nameServer) answer(m dnsmessage.Message, to net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.silent {
		return
	}
	m.Response, m.RCode, m.Additionals = true, s.code, nil
	if q := m.Questions[0]; s.code == dnsmessage.RCodeSuccess && q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: s.ttl},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	packed, err := m.Pack()
	if err != nil {
		return
	}
	time.AfterFunc(s.late, func() { _, _ = s.conn.WriteTo(packed, to) })
}

// resolving runs an instance whose Envoy asks the name server, in a mount namespace with its own resolv.conf.
func (f *field) resolving(ctx context.Context, files map[string]string) (*instance, error) {
	in, err := f.prepareInstance()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(in.root, "resolv.conf")
	content := "nameserver " + nameServerAddress + "\noptions timeout:1 attempts:1\n"
	if err := os.WriteFile(conf, []byte(content), 0o600); err != nil {
		return nil, err
	}
	in.wrapper = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
		"mount --bind " + conf + ` /etc/resolv.conf && exec "$0" "$@"`}
	for name, content := range files {
		if err := in.write(name, content); err != nil {
			return nil, err
		}
	}
	return in, in.run(ctx)
}

// named is a route to a backend with a name that is asked for every second.
func (f *field) named(name string) string {
	fqdn := fmt.Sprintf("---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: %s}\n"+
		"spec: {endpoints: [{fqdn: {hostname: %s.drill.example, port: %d}}]}\n", name, name, f.backends["one"].Port())
	policy := policed("BackendTrafficPolicy", name, "dns: {lookupFamily: IPv4, dnsRefreshRate: 1s, respectDnsTtl: true}")
	return strings.Replace(policy, ref("one"), ref(name), 1) + fqdn
}

func namesFail(ctx context.Context, f *field) (string, error) {
	if os.Geteuid() != 0 {
		return "not run: it needs root", nil
	}
	s, err := f.nameServer()
	if err != nil {
		return "", err
	}
	in, err := f.resolving(ctx, map[string]string{
		"named.yaml": f.named("named"), "plain.yaml": route("plain", "plain.example", to("one")),
	})
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "named.example", "/", 200); err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), "plain.example")
	length := time.Duration(f.size(4, 12)) * time.Second
	kept, asked := tally{}, 0
	for _, fault := range []func(*nameServer){
		func(s *nameServer) { s.code = dnsmessage.RCodeServerFailure },
		func(s *nameServer) { s.silent = true },
		func(s *nameServer) { s.late = 5 * time.Second },
		func(s *nameServer) { s.ttl = 0 },
	} {
		before := s.be(fault)
		got, err := in.asked(ctx, length, "named.example", nil)
		if err != nil {
			return "", err
		}
		kept = kept.add(got)
		if s.askedSince(before) == 0 {
			return "", fmt.Errorf("the name server was not asked for %v", length)
		}
		asked += s.askedSince(before)
	}
	s.be(func(s *nameServer) { s.code = dnsmessage.RCodeNameError })
	if _, err := in.want(ctx, "named.example", "/", 503); err != nil {
		return "", err
	}
	s.be(func(*nameServer) {})
	healed, err := in.want(ctx, "named.example", "/", 200)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("asked %d times; %v while it failed; well %v after NXDOMAIN; of another backend %v", asked, kept,
		healed.Round(time.Millisecond), result)
	switch {
	case kept.other(200) > 0:
		return seen, broken("the last address was not kept")
	case healed > 10*time.Second:
		return seen, broken("it took %v", healed)
	}
	return seen, unharmed(result, 200)
}
