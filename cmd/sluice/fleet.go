package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gateway/sluice/internal/fleet"
	fleetkube "github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// fleetOptions are what the resolution has to know of fleets.
func fleetOptions(namespace string, defaults *egv1a1.EnvoyProxySpec) *resolve.FleetOptions {
	return &resolve.FleetOptions{
		Namespace: namespace, Defaults: defaults, Reserved: fleet.ReservedPorts(), Check: fleetkube.Check,
	}
}

// fleetSettings are what all Envoys in the cluster have in common.
func (f *serveFlags) fleetSettings() (fleetkube.Settings, error) {
	_, port, err := net.SplitHostPort(f.xds)
	if err != nil {
		return fleetkube.Settings{}, fmt.Errorf("--xds-address: %w", err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return fleetkube.Settings{}, fmt.Errorf("--xds-address: %q is no port that Envoys could be told", port)
	}
	// The dot at the end: a name that is complete is looked up once, not in each search domain.
	host := func(service string) string {
		return fmt.Sprintf("%s.%s.svc.%s.", service, f.namespace, f.clusterDomain)
	}
	var limits *fleet.Remote
	if f.ratelimit != "" {
		limits = &fleet.Remote{Host: host(f.ratelimit), Port: ratelimitPort, Identity: pki.RateLimit}
	}
	return fleetkube.Settings{
		EnvoyImage: cmp.Or(f.envoyImage, fleetkube.DefaultEnvoyImage), SluiceImage: f.ownImage, Namespace: f.namespace,
		Service: f.service, Server: host(f.service), Port: uint16(number), Identity: pki.ControlPlane, RateLimit: limits,
	}, nil
}

// buildFleets makes the manager of the fleets. Without an image for what runs beside each Envoy there is none: Envoys
// are then somebody else's.
func (c *controlPlane) buildFleets() error {
	if c.flags.noEnvoys {
		return nil
	}
	if c.flags.ownImage == "" {
		c.log.Warn("No Envoys are run: --sluice-image is missing, the image for what runs beside each of them")
		return nil
	}
	settings, err := c.flags.fleetSettings()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.leading)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	c.fleets = fleetkube.New(fleetkube.Options{
		Client: client, Settings: settings, Identity: c.authority,
		Log:        c.logs(egv1a1.LogComponentInfrastructureRunner),
		Namespaces: c.flags.watchNamespaces,
		Placed:     func(name model.ProxyName, p resolve.Placement) { c.pipeline.Place(name, p) },
	})
	return nil
}

// wantFleet passes on what the pipeline wants.
func (c *controlPlane) wantFleet(name model.ProxyName, f *resolve.Fleet) {
	if c.fleets != nil {
		c.fleets.Want(name, f)
	}
}

// watchFleets says where the Envoys are, until the context ends.
func (c *controlPlane) watchFleets(ctx context.Context) {
	if c.fleets == nil {
		return
	}
	if err := c.fleets.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		c.log.Error("The fleets of Envoys cannot be watched", "error", err)
	}
}

// awaitPlaces waits until it is known where the fleets are: until then all Gateways would be said to have no address.
func (c *controlPlane) awaitPlaces(ctx context.Context) {
	if c.fleets == nil {
		return
	}
	// Something that cannot be read must not keep statuses from being written for good.
	const most = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	c.fleets.Located(ctx)
}

// leadFleets makes and mends the fleets, until the context ends.
func (c *controlPlane) leadFleets(ctx context.Context) {
	if c.fleets == nil {
		return
	}
	if err := c.fleets.Lead(ctx); err != nil && !errors.Is(err, context.Canceled) {
		c.log.Error("The fleets of Envoys cannot be led", "error", err)
	}
}
