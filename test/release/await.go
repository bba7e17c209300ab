package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/cluster/api"
)

// patience is how long a release may take to lead, and to accept a class: the Lease of a leader that was killed holds
// for 15 seconds.
const patience = time.Minute

// LeasePath is where the Lease of the release's leader is at the API server.
func (r Release) LeasePath() string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + r.Namespace + "/leases/" + r.Name
}

// Leader returns the name of the pod that holds the release's Lease.
func (r Release) Leader(ctx context.Context, client *api.Client) (string, error) {
	var lease struct {
		Spec struct{ HolderIdentity string }
	}
	if err := client.Get(ctx, r.LeasePath(), &lease); err != nil {
		return "", fmt.Errorf("the Lease of %s: %w", r.Name, err)
	}
	if lease.Spec.HolderIdentity == "" {
		return "", errors.New("nobody holds the Lease")
	}
	return lease.Spec.HolderIdentity, nil
}

// AwaitLeader waits until a pod of the release that is to stay holds the Lease. A pod that is ready serves Envoys, but
// the Lease may be held still by one that is gone, and until then no status is written and no Envoy made.
func (r Release) AwaitLeader(ctx context.Context, c *cluster.Cluster) error {
	client, err := c.API()
	if err != nil {
		return err
	}
	return await(ctx, "a replica to lead", func() error {
		leader, err := r.Leader(ctx, client)
		if err != nil {
			return err
		}
		var pods corev1.PodList
		path := "/api/v1/namespaces/" + r.Namespace + "/pods?labelSelector=" + r.Selector()
		if err := client.Get(ctx, path, &pods); err != nil {
			return err
		}
		if !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool {
			return p.Name == leader && p.DeletionTimestamp == nil
		}) {
			return fmt.Errorf("%s leads, which is no replica", leader)
		}
		return nil
	})
}

// AwaitClass waits until a GatewayClass is accepted as it is now, and says which features it supports.
func AwaitClass(ctx context.Context, c *cluster.Cluster, name string) error {
	client, err := c.API()
	if err != nil {
		return err
	}
	return await(ctx, "GatewayClass "+name+" to be accepted", func() error {
		var class gwv1.GatewayClass
		if err := client.Get(ctx, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/"+name, &class); err != nil {
			return err
		}
		accepted := meta.FindStatusCondition(class.Status.Conditions, string(gwv1.GatewayClassConditionStatusAccepted))
		switch {
		case accepted == nil:
			return errors.New("it has no condition Accepted")
		case accepted.Status != metav1.ConditionTrue || accepted.ObservedGeneration != class.Generation:
			return fmt.Errorf("it is %+v at generation %d", *accepted, class.Generation)
		case len(class.Status.SupportedFeatures) == 0:
			return errors.New("it says no features")
		}
		return nil
	})
}

// await waits until check returns nil.
func await(ctx context.Context, what string, check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: %w", what, errors.Join(err, ctx.Err()))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
