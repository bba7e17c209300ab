package policy

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// What Linux takes (net/ipv4/tcp.c: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT).
const (
	maxProbes    = 127
	maxKeepalive = 32767 * time.Second
)

// CheckKeepalive refuses what the kernel does not take: it counts in seconds. Connections would fail.
func CheckKeepalive(refused *Refusals, spec *egv1a1.TCPKeepalive) {
	if n := spec.Probes; n != nil && (*n < 1 || *n > maxProbes) {
		refused.Add(".probes", "The number %d is out of range: use 1 to %d", *n, maxProbes)
	}
	seconds := func(path string, d *gwv1.Duration) {
		if parsed := refused.Duration(path, d, time.Second); parsed%time.Second != 0 || parsed > maxKeepalive {
			refused.Add(path, "The duration %q is out of range: use whole seconds, at most %v", *d, maxKeepalive)
		}
	}
	seconds(".idleTime", spec.IdleTime)
	seconds(".interval", spec.Interval)
}

// The names and levels of socket options where Envoy runs, on Linux (socket(7)): those of the machine that this is
// built on may be others.
const (
	// SolSocket is the level of options that are the same for all protocols.
	SolSocket = 1

	soSendBuffer    = 7
	soReceiveBuffer = 8
)

// SocketOption is a socket option with a number. It is set before there is a connection, so that all have it.
func SocketOption(level, name int64, value uint32) *corev3.SocketOption {
	return &corev3.SocketOption{
		Level: level, Name: name, Value: &corev3.SocketOption_IntValue{IntValue: int64(value)},
		State: corev3.SocketOption_STATE_PREBIND,
	}
}

// SocketBuffers are the options of a socket whose buffers, for each direction, have a size in bytes.
func SocketBuffers(size uint32) []*corev3.SocketOption {
	return []*corev3.SocketOption{
		SocketOption(SolSocket, soReceiveBuffer, size), SocketOption(SolSocket, soSendBuffer, size),
	}
}
