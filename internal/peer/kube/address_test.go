package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	"github.com/sluice-gateway/sluice/internal/peer/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

func slice(name, service, family, endpoints string) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: sluice-system, labels: {kubernetes.io/service-name: %s}}
addressType: %s
ports: [{name: http-metrics, port: 19001}, {name: grpc-xds, port: 18000}]
endpoints: [%s]
`, name, service, family, endpoints)
}

func TestReplicasAreTheEndpointsOfTheService(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: sluice-system}}")
	client, err := discoveryclient.NewForConfig(server.Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		kube.Watch(ctx, kube.Options{
			Slices: client.EndpointSlices("sluice-system"), Service: "sluice", Port: "grpc-xds",
			Follow: func(addresses []string) {
				mu.Lock()
				defer mu.Unlock()
				got = addresses
			},
			Log: slog.New(slog.DiscardHandler),
		})
	}()
	follows := func(when string, want ...string) {
		t.Helper()
		diff := ""
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			diff = cmp.Diff(want, got)
			mu.Unlock()
			if diff == "" {
				return
			}
		}
		t.Fatalf("%s: %s", when, diff)
	}
	objects.Apply(t, slice("four", "sluice", "IPv4",
		"{addresses: [192.0.2.2], conditions: {ready: false}}, {addresses: [192.0.2.1], conditions: {ready: true}}"))
	objects.Apply(t, slice("other", "else", "IPv4", "{addresses: [192.0.2.9]}"))
	follows("at first", "192.0.2.1:18000", "192.0.2.2:18000")
	objects.Apply(t, slice("six", "sluice", "IPv6", "{addresses: ['2001:db8::1']}"))
	follows("with a slice for IPv6", "192.0.2.1:18000", "192.0.2.2:18000", "[2001:db8::1]:18000")
	objects.Apply(t, slice("four", "sluice", "IPv4", "{addresses: [192.0.2.3]}"))
	follows("after a change", "192.0.2.3:18000", "[2001:db8::1]:18000")
	server.Down()
	server.Up(t)
	objects.Apply(t, slice("six", "sluice", "IPv6", ""))
	follows("after the API server was away", "192.0.2.3:18000")
	cancel()
	<-done
}
