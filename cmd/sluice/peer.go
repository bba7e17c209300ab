package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/uuid"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"github.com/sluice-gateway/sluice/internal/peer"
	peerkube "github.com/sluice-gateway/sluice/internal/peer/kube"
	"github.com/sluice-gateway/sluice/internal/pki"
)

// xdsPortName is the name of the port of Sluice's own Service that leads to xDS.
const xdsPortName = "grpc-xds"

// identify returns the identity in the certificate of the peer of a stream.
func identify(ctx context.Context) (string, error) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the peer is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the connection has no TLS")
	}
	id, err := pki.Identity(info.State)
	if err != nil {
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	return id, nil
}

// authorizeReplica lets in the replicas of the control plane, and no Envoy: what others' Envoys are told is none of its
// business.
func authorizeReplica(ctx context.Context) error {
	id, err := identify(ctx)
	if err != nil {
		return err
	}
	if id != pki.ControlPlane {
		return status.Errorf(codes.PermissionDenied, "%s is not a replica of the control plane", id)
	}
	return nil
}

// buildPeers makes what other replicas listen to.
func (c *controlPlane) buildPeers() {
	c.replica = string(uuid.NewUUID())
	c.hub = peer.NewHub(c.replica, version, authorizeReplica)
}

// hearPeers listens to the other replicas until the context ends.
func (c *controlPlane) hearPeers(ctx context.Context) (*peer.Mesh, error) {
	mesh := peer.NewMesh(ctx, peer.MeshOptions{
		Replica: c.replica, Credentials: credentials.NewTLS(c.authority.ClientConfig()), Log: c.log,
		Heard: func(r peer.Report) { c.account(c.pipeline.Heard(r)) },
	})
	if len(c.flags.peers) > 0 {
		mesh.Follow(c.flags.peers)
		return mesh, nil
	}
	client, err := discoveryclient.NewForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	go peerkube.Watch(ctx, peerkube.Options{
		Slices: client.EndpointSlices(c.flags.namespace), Service: c.flags.service, Port: xdsPortName,
		Follow: mesh.Follow, Log: c.log,
	})
	return mesh, nil
}
