package main

import (
	"context"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/envoygateway"
	"github.com/sluice-gateway/sluice/test/release"
)

// envoyGateway is Envoy Gateway of the version in go.mod, from its module's own chart.
var envoyGateway = system{
	name:      "envoy-gateway",
	class:     "bench-peer",
	control:   pods{envoygateway.Namespace, envoygateway.Selector, "envoy-gateway"},
	proxy:     pods{envoygateway.Namespace, envoygateway.GatewayLabel + "=" + gatewayName, "envoy"},
	install:   installPeer,
	uninstall: envoygateway.Uninstall,
}

// peerClass has Envoys that ask for no more than those of Sluice.
var peerClass = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: bench, namespace: ` + envoygateway.Namespace + `}
spec:
  telemetry: {accessLog: {disable: true}}
  provider:
    type: Kubernetes
    kubernetes:
      envoyDeployment:
        container: {image: "` + envoygateway.EnvoyImage + `", resources: {requests: {cpu: 10m, memory: 64Mi}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bench-peer}
spec:
  controllerName: ` + envoygateway.Controller + `
  parametersRef:
    {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: bench, namespace: ` + envoygateway.Namespace + `}
`

func installPeer(ctx context.Context, c *cluster.Cluster) error {
	// The CRDs are those of Sluice's chart, and stay.
	if err := release.Default.Install(ctx, c, "replicas=1"); err != nil {
		return err
	}
	if err := release.Default.Uninstall(ctx, c); err != nil {
		return err
	}
	if err := envoygateway.Install(ctx, c, "deployment.envoyGateway.resources.limits.memory=8Gi"); err != nil {
		return err
	}
	return release.Apply(ctx, c, peerClass)
}
