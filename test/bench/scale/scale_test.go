package main

import (
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-envoy", "/envoy"})
	if err != nil {
		t.Fatal(err)
	}
	if o.size(10_000) != 1000 || o.churn != 5*time.Second || !slices.Equal(o.routes, []int{500, 1000}) {
		t.Errorf("got %+v", o)
	}
	for _, args := range [][]string{{"-envoy", ""}, {"-envoy", "e", "-routes", "5"}, {"-envoy", "e", "-routes", "x"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// TestBackendAddresses says that no two backends share an address, and that all are in the range of the namespace.
func TestBackendAddresses(t *testing.T) {
	seen := map[string]int{}
	for i := range 120_000 {
		address := backendAddress(i)
		if j, ok := seen[address]; ok {
			t.Fatalf("%d and %d are both at %s", i, j, address)
		}
		if address[:7] != "198.18." && address[:7] != "198.19." {
			t.Fatalf("%d is at %s", i, address)
		}
		seen[address] = i
	}
}

// TestNamed says that whoever is told of a cluster asks for its endpoints.
func TestNamed(t *testing.T) {
	kind, names, err := named(&discoveryv3.DeltaDiscoveryResponse{
		TypeUrl: clusterType, Resources: []*discoveryv3.Resource{{Name: "a"}, {Name: "b"}},
	})
	if err != nil || kind != endpointType || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%s %v, %v", kind, names, err)
	}
}
