package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// fakeEnvoy subscribes to everything that a Gateway with one HTTP listener has, ACKs it, and refuses routes in which
// it sees "/bad".
type fakeEnvoy struct {
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

const (
	clusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	routesType  = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// connectEnvoy runs an Envoy until the test ends, or it is told to go.
func connectEnvoy(t *testing.T, conn *grpc.ClientConn, table string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, req := range []*discoveryv3.DeltaDiscoveryRequest{
		{TypeUrl: clusterType}, {TypeUrl: listenerType}, {TypeUrl: routesType, ResourceNamesSubscribe: []string{table}},
	} {
		if i == 0 {
			req.Node = &corev3.Node{Id: "fake"}
		}
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	var done sync.WaitGroup
	done.Go(func() {
		e := &fakeEnvoy{stream}
		for e.answer() == nil {
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// answer takes one response, and ACKs or refuses it.
func (e *fakeEnvoy) answer() error {
	resp, err := e.stream.Recv()
	if err != nil {
		return err
	}
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	for _, r := range resp.Resources {
		if strings.Contains(string(r.Resource.GetValue()), "/bad") {
			req.ErrorDetail = &statuspb.Status{Message: "no such thing"}
		}
	}
	return e.stream.Send(req)
}

// listenerStatus returns the Programmed condition of the first listener of a Gateway.
func listenerStatus(t *testing.T, objects *apiserver.Objects, name string) (condition, since string) {
	t.Helper()
	u := objects.Get(t, schema.GroupVersionResource{
		Group: model.GroupGateway, Version: "v1", Resource: "gateways",
	}, "ns", name)
	listeners, _, _ := unstructured.NestedSlice(u.Object, "status", "listeners")
	if len(listeners) == 0 {
		return "", ""
	}
	conditions, _, _ := unstructured.NestedSlice(listeners[0].(map[string]any), "conditions")
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == "Programmed" {
			return fmt.Sprint(c["status"]), fmt.Sprint(c["lastTransitionTime"])
		}
	}
	return "", ""
}

// routeStatus returns all that the status of a route says.
func routeStatus(t *testing.T, objects *apiserver.Objects, name string) string {
	t.Helper()
	u := objects.Get(t, schema.GroupVersionResource{
		Group: model.GroupGateway, Version: "v1", Resource: "httproutes",
	}, "ns", name)
	return fmt.Sprint(u.Object["status"])
}

// listen asks a replica what its Envoys have said, as another replica does.
func listen(t *testing.T, conn *grpc.ClientConn) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/sluice.peer.v1.Replica/Listen")
	if err != nil {
		return "", err
	}
	if err := stream.SendMsg(&wrapperspb.BytesValue{}); err != nil {
		return "", err
	}
	var got wrapperspb.BytesValue
	err = stream.RecvMsg(&got)
	return string(got.Value), err
}

// What the Envoys of one replica say is in the statuses that another one writes, and stays there when replicas go.
func TestReplicasKnowOfEachOthersEnvoys(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: sluice-system}}")
	objects.InstallCRDs(t)
	objects.Apply(t, world)
	ready := func(r *replica) func() bool {
		return func() bool { code, _ := r.get("/readyz"); return code == 200 }
	}
	leads := func(r *replica) func() bool {
		return func() bool { return strings.Contains(r.logs.String(), "This replica leads") }
	}
	at := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	all := []string{"--peer", at[0], "--peer", at[1], "--peer", at[2]}
	start := func(i int, name string) *replica {
		return startReplica(t, server, name, append(all, "--xds-address", at[i])...)
	}
	first := start(0, "first")
	eventually(t, "the first replica leads", leads(first))
	second := start(1, "second")
	eventually(t, "the second replica is ready", ready(second))
	authority := kept(t, objects)
	bad := strings.Replace(world, "[{name: one}]}", "[{name: one}], "+
		"rules: [{matches: [{path: {type: PathPrefix, value: /bad}}]}]}", 1)

	t.Run("a proxy hears nothing of others", func(t *testing.T) {
		got, err := listen(t, client(t, at[1], authority, "ns/one"))
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("it hears %q (%v)", got, err)
		}
		got, err = listen(t, client(t, at[1], nil, ""))
		if status.Code(err) != codes.Unavailable {
			t.Errorf("somebody without a certificate hears %q (%v)", got, err)
		}
		got, err = listen(t, replicaClient(t, at[1], authority))
		if err != nil || !strings.Contains(got, "ns/one/http") {
			t.Errorf("a replica hears %q (%v)", got, err)
		}
	})

	eventually(t, "the status does not say that there are Envoys", func() bool {
		got, _ := listenerStatus(t, objects, "one")
		return got == "Unknown" || got == "False"
	})
	connectEnvoy(t, client(t, at[1], authority, "ns/one"), "http/8080")
	eventually(t, "the Envoy of the second makes the Gateway programmed", func() bool {
		got, _ := listenerStatus(t, objects, "one")
		return got == "True"
	})
	if got, _ := listenerStatus(t, objects, "two"); got == "True" {
		t.Errorf("the Gateway without Envoys is programmed: %s", got)
	}
	objects.Apply(t, bad)
	eventually(t, "the words of the second's Envoy are in the status", func() bool {
		return strings.Contains(routeStatus(t, objects, "r"), "no such thing")
	})
	_, since := listenerStatus(t, objects, "one")

	// The replica with the Envoys becomes the leader; then one that never had any.
	third := start(2, "third")
	eventually(t, "the third replica is ready", ready(third))
	eventually(t, "the third hears the second", func() bool {
		return strings.Contains(third.logs.String(), `"A replica is heard","address":"`+at[1])
	})
	for i, change := range []struct {
		route string
		goes  *replica
		left  []*replica
	}{{"s", first, []*replica{second, third}}, {"t", second, []*replica{third}}} {
		if err := change.goes.stop(); err != nil {
			t.Error("a replica ends with", err)
		}
		eventually(t, "another replica leads", func() bool {
			return slices.ContainsFunc(change.left, func(r *replica) bool { return leads(r)() })
		})
		objects.Apply(t, strings.NewReplacer("name: r,", "name: "+change.route+",").Replace(world))
		eventually(t, "the new leader writes", func() bool { return written(t, objects, change.route) })
		if got, when := listenerStatus(t, objects, "one"); got != "True" || when != since {
			t.Errorf("leader %d says that Programmed is %s since %s, not True since %s", i+2, got, when, since)
		}
		if got := routeStatus(t, objects, "r"); !strings.Contains(got, "no such thing") {
			t.Errorf("leader %d does not say any more what Envoy said: %s", i+2, got)
		}
	}
}
