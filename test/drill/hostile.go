package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// hostileDrills are those of what may be too much for the control plane.
var hostileDrills = []drill{
	{id: "F24", fault: "files that are bombs: aliases of aliases, thousands of levels, megabytes in one value, binary",
		promise: "0 requests fail, a route of another file is live within 10 s, the control plane takes 512 MiB at most",
		run:     bombed},
	{id: "F26", fault: "hundreds of xDS clients connect at once",
		promise: "all have everything within 30 s, 0 requests fail, the control plane takes 1.5 GiB at most", run: stormed},
}

// bombs are files that cost more than they seem to.
func bombs() map[string]string {
	var laughs strings.Builder
	laughs.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: laughs}\nx0: &x0 [lol, lol, lol, lol, lol]\n")
	for i := range 12 {
		one := fmt.Sprintf("*x%d", i)
		fmt.Fprintf(&laughs, "x%d: &x%d [%s]\n", i+1, i+1, strings.Join([]string{one, one, one, one, one, one}, ", "))
	}
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata: "
	return map[string]string{
		"laughs.yaml": laughs.String(),
		"deep.yaml":   configMap + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "\n",
		"big.yaml":    configMap + "{a: " + strings.Repeat("x", 16<<20) + "}\n",
		"many.yaml":   strings.Repeat("---\nkind: Unknown\n", 20_000),
		"binary.yaml": strings.Repeat("\x00\xff\xfe\x01", 1<<18),
	}
}

func bombed(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(50))
	if err != nil {
		return "", err
	}
	stop := in.load(300, host(0))
	for name, content := range bombs() {
		if err := in.write(name, content); err != nil {
			return "", err
		}
	}
	slowest := time.Duration(0)
	rounds := f.size(3, 20)
	for i := range rounds {
		name := fmt.Sprintf("added-%d.example", i)
		if err := in.write("added.yaml", route("added", name, to("one"))); err != nil {
			return "", err
		}
		took, err := in.want(ctx, name, "/", 200)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took)
	}
	peak, err := peakOf(ctx, in.planePID)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d bombs, %v; routes live within %v; control plane at most %.0f MiB", len(bombs()), result,
		slowest.Round(time.Millisecond), peak)
	switch {
	case strings.Contains(in.output.String(), "the control plane has ended"):
		return seen, broken("the control plane died:\n%s", in.output)
	case slowest > 10*time.Second:
		return seen, broken("a route took %v", slowest)
	case peak > 512:
		return seen, broken("the control plane has grown")
	}
	return seen, unharmed(result, 100)
}

// stormed has clients connect that behave as Envoys that have just started.
func stormed(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(f.size(200, 1000)))
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(in.root, "run", "sluice-*", "xds.sock"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%d xDS sockets, want one: %w", len(found), err)
	}
	stop := in.load(1000, host(0))
	clients, rounds := f.size(100, 500), f.size(5, 3)
	slowest := time.Duration(0)
	for round := range rounds {
		took, err := storm(ctx, found[0], fmt.Sprintf("fake-%d", round), in.port, clients)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took)
	}
	peak, err := peakOf(ctx, in.planePID)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d times %d clients in at most %v, %v; control plane at most %.0f MiB", rounds, clients,
		slowest.Round(10*time.Millisecond), result, peak)
	switch {
	case slowest > 30*time.Second:
		return seen, broken("it took %v", slowest)
	case peak > 1536:
		return seen, broken("the control plane has grown")
	}
	return seen, unharmed(result, 10)
}

// storm connects as that many Envoys at once, and returns how long it took until all had everything.
func storm(ctx context.Context, socket, name string, port, clients int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	began := time.Now()
	errs := make(chan error, clients)
	var connected sync.WaitGroup
	connected.Add(clients)
	for i := range clients {
		node := fmt.Sprintf("%s-%d", name, i)
		go func() { errs <- fetchAll(ctx, socket, node, port, &connected) }()
	}
	for range clients {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// withoutHosts reports whether a response is a route configuration whose virtual hosts are resources of their own.
func withoutHosts(response *discoveryv3.DeltaDiscoveryResponse) bool {
	var routes routev3.RouteConfiguration
	return len(response.Resources) == 1 && response.Resources[0].Resource.MessageIs(&routes) &&
		response.Resources[0].Resource.UnmarshalTo(&routes) == nil && routes.Vhds != nil
}

// fetchAll connects as an Envoy does, waits until it has all clusters, listeners and routes, and hangs up when all
// others have them too.
func fetchAll(ctx context.Context, socket, node string, port int, connected *sync.WaitGroup) error {
	done := sync.OnceFunc(connected.Done)
	defer done()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	const prefix = "type.googleapis.com/envoy.config."
	missing := map[string]bool{}
	for typ, names := range map[string][]string{
		"cluster.v3.Cluster": nil, "listener.v3.Listener": nil,
		"route.v3.RouteConfiguration": {fmt.Sprintf("http/%d", port)},
	} {
		missing[prefix+typ] = true
		err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: node, Cluster: "local"}, TypeUrl: prefix + typ, ResourceNamesSubscribe: names,
		})
		if err != nil {
			return err
		}
	}
	for len(missing) > 0 {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		if len(response.Resources) > 0 {
			delete(missing, response.TypeUrl)
		}
		if hosts := prefix + "route.v3.VirtualHost"; withoutHosts(response) {
			missing[hosts] = true
			if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: hosts}); err != nil {
				return err
			}
		}
		err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce})
		if err != nil {
			return err
		}
	}
	done()
	connected.Wait()
	return nil
}
