package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

const (
	// askEvery is how often the API server is asked whether it is there, askTimeout how long it has to answer.
	askEvery, askTimeout = time.Second, 2 * time.Second
	// ahead is how much later than this replica another one must have heard from the API server to be better for Envoys.
	// When the API server is gone for all, their last contacts are closer together than that, and nobody is better.
	ahead = 5 * time.Second
)

// contact is when this replica last knew what there is. One that is cut off from the API server goes on to serve what
// it knew; but while another replica still hears of changes, Envoys are better served by that one.
type contact struct {
	// ask asks the API server something, on the connection of the watches: what they sent before has arrived when the
	// answer has.
	ask func(context.Context) error
	// behind names what is not being watched at present.
	behind func() []string
	now    func() time.Time

	mu   sync.Mutex
	last time.Time
}

// newContact returns the contact of a replica that has just read everything. A question is a look at the Lease: it is
// there or not, but who answers has asked etcd.
func newContact(config *rest.Config, flags serveFlags, behind func() []string) (*contact, error) {
	config = rest.CopyConfig(config)
	config.Timeout = askTimeout
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	ask := func(ctx context.Context) error {
		_, err := client.Leases(flags.namespace).Get(ctx, flags.leaseName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return nil // that is an answer
		}
		return err //nolint:wrapcheck // nobody reads it
	}
	return &contact{ask: ask, behind: behind, now: time.Now, last: time.Now()}, nil
}

// at returns when the last contact was.
func (c *contact) at() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// try asks once.
func (c *contact) try(ctx context.Context) {
	asked := c.now()
	if c.ask(ctx) != nil || len(c.behind()) > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = asked
}

// yield says why Envoys are better served by another replica, which last heard from the API server at a time that may
// be zero; nil if they are not.
func (c *contact) yield(other time.Time) error {
	if other.Sub(c.at()) <= ahead {
		return nil
	}
	why := "it does not answer"
	if kinds := c.behind(); len(kinds) > 0 {
		why = "not watched: " + strings.Join(kinds, ", ")
	}
	return errors.New("another replica hears from the API server, and this one does not: " + why)
}

// keepContact hands the Envoys over to other replicas while those know more, until the context ends.
func (c *controlPlane) keepContact(ctx context.Context, others func() time.Time) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.contact.try(ctx)
		// Right after an answer or none: a process that was paused must not judge by what it last knew.
		c.setYielding(c.contact.yield(others()))
	}
}

// setYielding hands Envoys over, or takes them again.
func (c *controlPlane) setYielding(why error) {
	c.mu.Lock()
	before := c.yielding
	c.yielding = why
	c.mu.Unlock()
	switch {
	case why != nil && before == nil:
		c.log.Warn("Envoys are sent to other replicas", "reason", why.Error())
		c.door.shut()
	case why == nil && before != nil:
		c.door.open()
		c.log.Info("Envoys are served again")
	}
}
