package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// panicDrills are those of bugs.
var panicDrills = []drill{
	{id: "F25", fault: "translating a route panics, and so does the stream of an xDS client (in a program built for it)",
		long: true, // it builds a program, which takes longer than all the rest
		promise: "0 requests fail; the route's status says so, its version before stays, other changes are live within " +
			"2 s; the control plane and the streams of others go on; mended, the route is live within 2 s",
		run: panicked},
}

// panicking is a route whose translation panics, in a program that is built with the tag drill: when it is checked, or
// when it is made.
func panicking(name, host, where string) string {
	return route(name, host, "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: "+
		"[{name: x-panic, value: "+where+"}]}}], backendRefs: ["+ref("one")+"]}")
}

func panicked(ctx context.Context, f *field) (string, error) {
	binary, err := f.build(ctx, "panics", "-tags", "drill")
	if err != nil {
		return "", err
	}
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	in.binary = binary
	for name, content := range routes(50) {
		if err := in.write(name, content); err != nil {
			return "", err
		}
	}
	if err := in.run(ctx); err != nil {
		return "", err
	}
	plane, err := in.planePID(ctx)
	if err != nil {
		return "", err
	}
	// The routes that panic are among those that must not notice, for their versions before stay.
	stop := in.load(float64(f.size(300, 1000)), host(0), host(1), host(2))
	rounds, slowest := f.size(4, 20), time.Duration(0)
	for round := range rounds {
		took, err := in.panics(ctx, round)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took)
	}
	result := stop()
	now, err := in.planePID(ctx)
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%d panics, %v; others and what was mended live within %v", 4*rounds, result,
		slowest.Round(time.Millisecond))
	switch {
	case now != plane || strings.Contains(in.output.String(), "the control plane has ended"):
		return seen, broken("the control plane has died")
	case slowest > 2*time.Second:
		return seen, broken("it took %v", slowest)
	}
	return seen, unharmed(result, 20)
}

// panics has three routes and a stream panic, and mends them. It returns how long changes took.
func (in *instance) panics(ctx context.Context, round int) (slowest time.Duration, err error) {
	name := fmt.Sprintf("fresh-%d", round)
	fresh := name + ".example"
	for file, content := range map[string]string{
		"r1.yaml": panicking("r1", host(1), "check"), "r2.yaml": panicking("r2", host(2), "apply"),
		name + ".yaml": panicking(name, fresh, "apply"),
	} {
		if err := in.write(file, content); err != nil {
			return 0, err
		}
	}
	if err := in.streamPanics(ctx); err != nil {
		return 0, err
	}
	for _, name := range []string{"r1", "r2", name} {
		if err := eventually(ctx, patience, func() error { return in.confesses(name) }); err != nil {
			return 0, broken("%v", err)
		}
	}
	// A route that is new has no version before: it is closed.
	if _, err := in.want(ctx, fresh, "/", 500); err != nil {
		return 0, broken("%v", err)
	}
	added := fmt.Sprintf("added-%d.example", round)
	if err := in.write("added.yaml", route("added", added, to("one"))); err != nil {
		return 0, err
	}
	if slowest, err = in.want(ctx, added, "/", 200); err != nil {
		return 0, err
	}
	mended := errors.Join(in.write("r1.yaml", route("r1", host(1), to("one"))),
		in.write("r2.yaml", route("r2", host(2), to("one"))), in.write(name+".yaml", route(name, fresh, to("one"))))
	if mended != nil {
		return 0, mended
	}
	took, err := in.want(ctx, fresh, "/", 200)
	return max(slowest, took), err
}

// confesses returns an error unless the status of a route says that Sluice fails on it.
func (in *instance) confesses(route string) error {
	list, err := in.objects()
	if err != nil {
		return err
	}
	for _, o := range list {
		confessed := strings.Contains(string(o.Status), "which is a bug in Sluice")
		if confessed && o.Kind == "HTTPRoute" && o.Metadata.Name == route {
			return nil
		}
	}
	return fmt.Errorf("the status of %s does not say that Sluice fails on it", route)
}

// streamPanics connects as the xDS client whose stream panics, and wants nothing but that to end.
func (in *instance) streamPanics(ctx context.Context) error {
	found, err := filepath.Glob(filepath.Join(in.root, "run", "sluice-*", "xds.sock"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%d xDS sockets, want one: %w", len(found), err)
	}
	conn, err := grpc.NewClient("unix:"+found[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "panic", Cluster: "local"}, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	})
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Internal {
		return broken("the stream ended with %v, want Internal", err)
	}
	return nil
}
