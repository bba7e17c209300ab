package main

import (
	"context"
	"fmt"
	"net"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const (
	// handshakeTimeout is what a client has to prove who it is.
	handshakeTimeout = 10 * time.Second
	// maxStreams is how many streams one Envoy can have: it needs one.
	maxStreams = 16
	// settleService is how long others may still send new connections to a replica that is not ready any more.
	settleService = 2 * time.Second
	// settleStreams is what Envoys have after being told to go, before they are cut off.
	settleStreams = time.Second
)

// authorize says which proxy a stream is of: the one that its certificate names. What the node says does not matter.
func authorize(ctx context.Context, _ *corev3.Node) (model.ProxyName, error) {
	id, err := identify(ctx)
	if err != nil {
		return "", err
	}
	name, err := pki.ProxyOf(id)
	if err != nil {
		return "", status.Error(codes.PermissionDenied, err.Error())
	}
	return name, nil
}

// serveXDS serves Envoys that have a certificate. The returned function has them go to another replica, and ends it.
func (c *controlPlane) serveXDS(failed chan<- error) (stop func(), err error) {
	listener, err := net.Listen("tcp", c.flags.xds)
	if err != nil {
		return nil, fmt.Errorf("xDS on %s: %w", c.flags.xds, err)
	}
	c.door = newDoor(credentials.NewTLS(c.authority.ServerConfig()))
	options := append(xds.ServerOptions(c.flags.connection), grpc.Creds(c.door),
		grpc.ConnectionTimeout(handshakeTimeout), grpc.MaxConcurrentStreams(maxStreams))
	server := grpc.NewServer(options...)
	c.server.Register(server)
	c.hub.Register(server)
	go func() {
		if err := server.Serve(listener); err != nil {
			failed <- fmt.Errorf("xDS on %s: %w", c.flags.xds, err)
		}
	}()
	c.log.Info("Envoys are served", "address", listener.Addr().String())
	return func() {
		time.Sleep(min(settleService, c.flags.drain))
		gone := make(chan struct{})
		go func() {
			server.GracefulStop()
			close(gone)
		}()
		select {
		case <-gone:
		case <-time.After(min(settleStreams, c.flags.drain)):
			server.Stop()
		}
	}, nil
}
