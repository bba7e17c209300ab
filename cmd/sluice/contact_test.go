package main

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/test/apiserver"
)

// TestYield has this replica and another one hear from the API server at different times.
func TestYield(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, test := range []struct {
		name   string
		answer error
		behind []string
		other  time.Duration // after the start; negative for a replica that says nothing
		want   string
	}{
		{name: "both hear", other: 20 * time.Second},
		{name: "nobody else is there", answer: errors.New("timeout"), other: -1},
		{name: "nobody hears any more", answer: errors.New("timeout"), other: 3 * time.Second},
		{name: "only the other hears", answer: errors.New("timeout"), other: 20 * time.Second, want: "does not answer"},
		{name: "a watch is missing", behind: []string{"HTTPRoute"}, other: 20 * time.Second, want: "HTTPRoute"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &contact{
				ask: func(context.Context) error { return test.answer }, behind: func() []string { return test.behind },
				now: func() time.Time { return start.Add(20 * time.Second) }, last: start,
			}
			c.try(t.Context())
			var other time.Time
			if test.other >= 0 {
				other = start.Add(test.other)
			}
			err := c.yield(other)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("yields because of %v, want %q", err, test.want)
			}
		})
	}
}

// A replica that is cut off from the API server sends its Envoys to one that is not, goes on to talk with that one, and
// takes Envoys again when it hears of changes again.
func TestReplicaCutOff(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: sluice-system}}")
	objects.InstallCRDs(t)
	objects.Apply(t, world)
	config := server.Config(apiserver.Admin)
	host, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	relay, silent := swallow(t, host.Host)
	config.Host = "https://" + relay
	at := []string{freeAddress(t), freeAddress(t)}
	peers := []string{"--peer", at[0], "--peer", at[1], "--xds-address"}
	cut := startReplica(t, server, "cut", append(peers, at[0], "--kubeconfig", kubeconfigOf(t, config))...)
	other := startReplica(t, server, "other", append(peers, at[1])...)
	for _, r := range []*replica{cut, other} {
		eventually(t, "a replica is ready", func() bool { code, _ := r.get("/readyz"); return code == 200 })
	}
	eventually(t, "the replicas hear each other", func() bool {
		return strings.Contains(cut.logs.String(), "A replica is heard")
	})
	authority := kept(t, objects)
	envoy := client(t, at[0], authority, "ns/one")
	ended := holdStream(t, envoy)

	silent.Store(true)
	began := time.Now()
	select {
	case err := <-ended:
		if status.Code(err) != codes.Unavailable {
			t.Errorf("the Envoy's stream ends with %v", err)
		}
		t.Logf("the Envoy was sent away after %v", time.Since(began).Round(time.Millisecond))
	case <-time.After(30 * time.Second):
		t.Fatal("the Envoy is served on by a replica that is cut off")
	}
	if code, why := cut.get("/readyz"); code == 200 || !strings.Contains(why, "another replica") {
		t.Errorf("the replica says that it is ready: %d, %s", code, why)
	}
	if code, why := other.get("/readyz"); code != 200 {
		t.Errorf("the other replica is not ready: %d, %s", code, why)
	}
	if got, err := listeners(t, envoy, "again"); status.Code(err) != codes.Unavailable {
		t.Errorf("an Envoy is served on: %v, %v", got, err)
	}
	if _, err := listen(t, replicaClient(t, at[0], authority)); err != nil {
		t.Errorf("another replica is sent away: %v", err)
	}

	silent.Store(false)
	eventually(t, "the replica takes Envoys again", func() bool { code, _ := cut.get("/readyz"); return code == 200 })
	eventually(t, "an Envoy is served", func() bool {
		_, err := listeners(t, envoy, "again")
		return err == nil
	})
}

// holdStream opens a stream for listeners and stays. What the stream ends with can be received.
func holdStream(t *testing.T, conn *grpc.ClientConn) (ended <-chan error) {
	t.Helper()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: listenerType, Node: &corev3.Node{Id: "held"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatalf("the Envoy is not served: %v", err)
	}
	out := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = stream.Recv()
		}
		out <- err
	}()
	return out
}
