package local_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// emptyXDS serves nothing of everything, and notes which node asks.
type emptyXDS struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	nodes chan string
}

func (s emptyXDS) DeltaAggregatedResources(
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if node := request.GetNode(); node != nil {
			s.nodes <- node.GetCluster() + "/" + node.GetId()
		}
		if request.GetResponseNonce() != "" {
			continue
		}
		answer := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: request.GetTypeUrl(), Nonce: "1"}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func serveXDS(t *testing.T, socket string) (stop func(), nodes <-chan string) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	service := emptyXDS{nodes: make(chan string, 10)}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server.Stop, service.nodes
}

func TestEnvoyAsksForItsConfiguration(t *testing.T) {
	binary := envoytest.Binary(t)
	dir := runtimeDir(t)
	config := fleetConfig(dir)
	config.Node, config.Cluster = "edge-1", "edge"
	bootstrap, err := fleet.Bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan local.Line, 100)
	// Sluice is not there yet: Envoy starts all the same.
	envoy, err := local.Start(t.Context(), local.Config{
		Binary: binary, Dir: dir, Bootstrap: marshalled(t, bootstrap), Concurrency: 1,
		OnLine: func(l local.Line) { lines <- l },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer envoy.Stop(context.Background()) //nolint:errcheck // stopped to end it

	want := func(nodes <-chan string, within time.Duration) {
		t.Helper()
		select {
		case got := <-nodes:
			if got != "edge/edge-1" {
				t.Errorf("node %q, want edge/edge-1", got)
			}
		case <-time.After(within):
			t.Fatalf("Envoy has not asked within %s", within)
		}
	}
	stop, nodes := serveXDS(t, dir.XDSSocket())
	want(nodes, deadline)
	eventually(t, deadline, "Envoy is ready", func() bool { return envoy.Admin().Ready(t.Context()) == nil })

	// Sluice goes away and comes back: Envoy says so, and asks again.
	stop()
	_ = os.Remove(dir.XDSSocket()) // the server has removed it
	select {
	case line := <-lines:
		if line.Level != "warning" || !strings.Contains(line.Text, fleet.XDSCluster) {
			t.Errorf("line %+v, want a warning of the xDS stream", line)
		}
	case <-time.After(deadline):
		t.Error("Envoy does not say that it has lost its xDS stream")
	}
	_, nodes = serveXDS(t, dir.XDSSocket())
	want(nodes, deadline)
}

func TestEnvoyRefusesTooManyConnections(t *testing.T) {
	const limit = 3
	r := start(t, 200*time.Millisecond, func(c *fleet.Config) { c.MaxConnections = limit })
	for range limit + 2 {
		connection, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close() //nolint:errcheck // nothing is sent
	}
	eventually(t, deadline, "two connections are refused, three are open", func() bool {
		// That the admin interface still answers is part of the test.
		stats, err := r.Admin().Stats(t.Context(), `^listener\.127`)
		if err != nil {
			t.Fatal(err)
		}
		var open, refused uint64
		for name, value := range stats {
			switch {
			case strings.Contains(name, ".worker_"):
			case strings.HasSuffix(name, ".downstream_cx_active"):
				open = value
			case strings.HasSuffix(name, ".downstream_global_cx_overflow"):
				refused = value
			}
		}
		return open == limit && refused == 2
	})
}
