package cluster

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/component"
	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// The environment variables that Get reads.
const (
	// nameVariable is the name of the cluster to use.
	nameVariable = "SLUICE_CLUSTER"
	// nodesVariable is how many nodes it gets if it has to be started.
	nodesVariable = "SLUICE_CLUSTER_NODES"
)

const (
	defaultName  = "test"
	defaultNodes = 2
)

// Get returns the cluster that tests share, and sets KUBECONFIG to it: the one that $SLUICE_CLUSTER names, or else
// "test". If it is not running it is started, with $SLUICE_CLUSTER_NODES nodes, or else two. It is left running for the
// packages that follow; "make cluster-down" ends it. A test that changes more than objects of its own namespaces has to
// undo that.
//
// Where no cluster can be started the test is skipped and says why, but fails where CI is "true".
func Get(t *testing.T) *Cluster {
	t.Helper()
	name := os.Getenv(nameVariable)
	if name == "" {
		name = defaultName
	}
	if err := namespace.Supported(); err != nil {
		missing(t, err)
	}
	c, err := running(t.Context(), name)
	if err != nil {
		t.Fatalf("start a cluster: %v", err)
	}
	t.Setenv("KUBECONFIG", c.Kubeconfig())
	return c
}

// missing ends a test for which there can be no cluster.
func missing(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("the test needs a Kubernetes cluster: %v", why)
	}
	t.Skipf("the test needs a Kubernetes cluster: %v", why)
}

// running returns a cluster of the programs as they are now, starting it if there is none.
func running(ctx context.Context, name string) (*Cluster, error) {
	unlock, err := lock(name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	_, hash, err := component.Build(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	if c, err := Open(name); err == nil && c.Hash == hash {
		const grace = 30 * time.Second // it may have been overloaded, or paused, by the test before
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if err := c.await(ctx, "the cluster", c.Ready); err == nil {
			return c, nil
		}
	}
	nodes, err := strconv.Atoi(os.Getenv(nodesVariable))
	if err != nil {
		nodes = defaultNodes
	}
	return up(ctx, Options{Name: name, Nodes: nodes, Log: os.Stderr})
}
