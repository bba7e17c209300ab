package main

import (
	"context"
	"os"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lead writes while this replica is the leader, until the context ends.
func (c *controlPlane) lead(ctx context.Context) {
	if !c.flags.elect {
		c.write(ctx)
		return
	}
	for ctx.Err() == nil {
		if err := c.stand(ctx); err != nil {
			c.log.Error("No leader can be elected", "error", err)
			<-ctx.Done()
		}
	}
}

// stand stands for election once, and returns when a leadership is over.
func (c *controlPlane) stand(ctx context.Context) error {
	// A renewal that hangs must not outlast the lease.
	config := rest.CopyConfig(c.config)
	config.Timeout = c.flags.renew / 2
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it is about
	}
	id := replicaName()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock{&resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.flags.namespace, Name: c.flags.leaseName()},
			Client:     client,
			LockConfig: resourcelock.ResourceLockConfig{Identity: id},
		}, c.fence},
		LeaseDuration: c.flags.lease, RenewDeadline: c.flags.renew, RetryPeriod: c.flags.retry,
		ReleaseOnCancel: true, Name: c.flags.leaseName(),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				c.log.Info("This replica leads", "id", id)
				c.write(ctx)
			},
			OnStoppedLeading: func() { c.log.Info("This replica does not lead", "id", id) },
		},
	})
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	elector.Run(ctx)
	return nil
}

// replicaName tells the replicas apart: the name of the Pod.
func replicaName() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	host, err := os.Hostname()
	if err != nil {
		host = "sluice"
	}
	return host + "-" + string(uuid.NewUUID())
}

// write is what only the leader does.
func (c *controlPlane) write(ctx context.Context) {
	var done sync.WaitGroup
	done.Go(func() { c.leadFleets(ctx) })
	c.awaitPlaces(ctx)
	c.writer.Lead(ctx)
	done.Wait()
}
