package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// Dial connects from the network of the control plane, where the addresses of pods, Services and load balancers lead to
// them. Names are looked up in the cluster's DNS: "echo.default.svc.cluster.local:80".
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		found, err := c.Resolver().LookupIP(ctx, "ip4", host)
		if err != nil {
			return nil, err
		}
		host = found[0].String()
	}
	return namespace.Dial(ctx, c.Machines[0].PID, network, net.JoinHostPort(host, port))
}

// DialFrom is Dial from the network of a node, to an IP address: what a client on that node would reach.
func (c *Cluster) DialFrom(ctx context.Context, node, network, address string) (net.Conn, error) {
	machine, err := c.machine(node)
	if err != nil {
		return nil, err
	}
	return namespace.Dial(ctx, machine.PID, network, address)
}

// Resolver asks the cluster's DNS.
func (c *Cluster) Resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return namespace.Dial(ctx, c.Machines[0].PID, network, net.JoinHostPort(controlIP, "53"))
		},
	}
}

// Transport returns a transport that dials with Dial.
func (c *Cluster) Transport() *http.Transport {
	return &http.Transport{DialContext: c.Dial, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute}
}

// Listen listens in the network of the control plane, where nodes and pods reach it at ControlIP.
func (c *Cluster) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	err := namespace.Do(c.Machines[0].PID, func() error {
		var err error
		listener, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in the cluster's network: %w", err)
	}
	return listener, nil
}

// ListenPacket opens a socket for datagrams in the network of the control plane.
func (c *Cluster) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := namespace.Do(c.Machines[0].PID, func() error {
		var err error
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket in the cluster's network: %w", err)
	}
	return conn, nil
}

// ControlIP is the address of the control plane's network, at which pods reach what listens there.
const ControlIP = controlIP
