package main

import (
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/sluice-gateway/sluice/internal/pki"
)

// errShut is what an Envoy is not told: its connection ends, and it tries another replica.
var errShut = errors.New("Envoys are not served here at present")

// door is the transport credentials of the server, which can send away all Envoys and let in no more. Other replicas
// come and go as before: the certificate tells them apart. It is not enough to end the streams of Envoys, because they
// would open others on the connections that they have.
type door struct {
	credentials.TransportCredentials

	mu   sync.Mutex
	away bool
	in   map[*guest]struct{}
}

func newDoor(c credentials.TransportCredentials) *door {
	return &door{TransportCredentials: c, in: map[*guest]struct{}{}}
}

// guest is a connection of an Envoy.
type guest struct {
	net.Conn
	door *door
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.door.mu.Lock()
	delete(g.door.in, g)
	g.door.mu.Unlock()
	return g.Conn.Close() //nolint:wrapcheck // a connection passes errors on
}

// ServerHandshake implements [credentials.TransportCredentials].
func (d *door) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // a transport passes errors on
	}
	if isReplica(info) {
		return conn, info, nil
	}
	g := &guest{Conn: conn, door: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		_ = conn.Close() // it is of no use to anybody
		return nil, nil, errShut
	}
	d.in[g] = struct{}{}
	return g, info, nil
}

// isReplica says whether the peer of a connection is a replica of the control plane.
func isReplica(info credentials.AuthInfo) bool {
	shown, ok := info.(credentials.TLSInfo)
	if !ok {
		return false
	}
	id, err := pki.Identity(shown.State)
	return err == nil && id == pki.ControlPlane
}

// shut sends all Envoys away, and lets no more in.
func (d *door) shut() {
	d.mu.Lock()
	d.away = true
	in := d.in
	d.in = map[*guest]struct{}{}
	d.mu.Unlock()
	for g := range in {
		_ = g.Conn.Close() // the server finds out by itself
	}
}

// open lets Envoys in again.
func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = false
}

// Clone implements [credentials.TransportCredentials]: there is one door.
func (d *door) Clone() credentials.TransportCredentials { return d }
