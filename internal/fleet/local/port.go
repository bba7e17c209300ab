package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// The reasons that ProbePort tells apart.
var (
	// ErrPortInUse is wrapped when another process listens on the port.
	ErrPortInUse = errors.New("the port is in use")
	// ErrPortPermission is wrapped when the user may not listen on the port.
	ErrPortPermission = errors.New("no permission to listen on the port")
	// ErrNoSuchAddress is wrapped when no interface of the machine has the address.
	ErrNoSuchAddress = errors.New("this machine does not have the address")
)

// probeTimeout is only a guard: listening does not wait.
const probeTimeout = 5 * time.Second

// ProbePort says whether Envoy could listen on a port, of TCP or UDP, of an address; "" and "::" are all addresses, of
// both families. Envoy listens with SO_REUSEPORT, so two Envoys of one user can have the same port, and each of them
// gets some of the connections: only a probe without it can tell. The error says what to do, and wraps one of
// ErrPortInUse, ErrPortPermission and ErrNoSuchAddress where it is that. Nothing is left open.
//
// Whether the port is free may change at once; a probe is for good words, not for a promise.
func ProbePort(address string, port model.PortKey) error {
	if address != "" {
		if _, err := netip.ParseAddr(address); err != nil {
			return fmt.Errorf("%q is not an IP address: %w", address, err)
		}
	}
	if address == "::" {
		address = "" // net takes the empty address for both families, and does without IPv6 where there is none
	}
	network := port.Transport.String()
	if address == "0.0.0.0" {
		network += "4"
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	socket, err := listen(ctx, network, net.JoinHostPort(address, strconv.Itoa(int(port.Port))))
	if err != nil {
		return explainListen(address, port, err)
	}
	if err := socket.Close(); err != nil {
		return fmt.Errorf("close the probe of port %d: %w", port.Port, err)
	}
	return nil
}

// listen opens a socket that takes connections, or packets, as the network has it.
func listen(ctx context.Context, network, address string) (io.Closer, error) {
	config := new(net.ListenConfig)
	if strings.HasPrefix(network, model.OverUDP.String()) {
		return config.ListenPacket(ctx, network, address)
	}
	return config.Listen(ctx, network, address)
}

// explainListen turns the error of a listen call into one that says what to do.
func explainListen(address string, port model.PortKey, err error) error {
	where := fmt.Sprintf("port %d", port.Port)
	if port.Transport == model.OverUDP {
		where = "UDP " + where
	}
	if address != "" {
		where += " of " + address
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := portHolder(port)
		if who == "" {
			who = "another process"
		}
		return fmt.Errorf("cannot listen on %s: %w by %s; stop it, or give the listener another port",
			where, ErrPortInUse, who)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("cannot listen on %s: %w: it needs root or CAP_NET_BIND_SERVICE; use a port of 1024 or above "+
			"or set net.ipv4.ip_unprivileged_port_start", where, ErrPortPermission)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: %w; use one that it has, or 0.0.0.0 for all", where, ErrNoSuchAddress)
	}
	return fmt.Errorf("cannot listen on %s: %w", where, err)
}
