package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"

	_ "github.com/sluice-gateway/sluice/internal/envoy/extension" // what patches may have in them
	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/source/file"
)

const (
	// controllerName is what a GatewayClass names to be ours.
	controllerName = "sluice.dev/gateway-controller"
	// envoyGateway is the controller of the classes that users of Envoy Gateway have.
	envoyGateway = "gateway.envoyproxy.io/gatewayclass-controller"
	// localProxy is the one proxy of this machine: it serves every Gateway.
	localProxy model.ProxyName = "local"
)

// localControllers are those whose classes are served on this machine: there is nobody else on it to serve them.
func localControllers(c *envoygateway.Config) []string {
	out := []string{controllerName, envoyGateway}
	if name := c.Controller(); name != "" && !slices.Contains(out, name) {
		out = append(out, name)
	}
	return out
}

// pipelineOptions are the options of a pipeline that serves everything with the one local proxy.
func pipelineOptions(controllers []string) pipeline.Options {
	return pipeline.Options{
		Controllers: controllers,
		Proxy:       func(model.Name) model.ProxyName { return localProxy },
		Proxies:     []model.ProxyName{localProxy},
		Launches:    &resolve.LaunchOptions{Check: local.Check},
		Chain:       all.Chain(),
		Bind:        bindAddress(),
		Workers:     runtime.GOMAXPROCS(0),
		// Whoever writes the files may name every address of the machine.
		LocalBackends: true,
		Patches:       true,
		SystemCAs:     findSystemCAs(),
		Alone:         true,
		Features:      all.Supported,
		Addresses:     pipeline.Addresses(netip.MustParseAddr("127.0.0.1")),
	}
}

// bindAddress is "::" for both address families where the machine has IPv6, else "0.0.0.0".
func bindAddress() string {
	l, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		return "0.0.0.0"
	}
	_ = l.Close()
	return "::"
}

// compute takes the files through all stages once, serving nobody. Notices are those of the configuration file, too.
func compute(
	ctx context.Context, paths []string, input io.Reader, config *configFlag,
) (*pipeline.Pipeline, source.Batch, error) {
	said, err := config.load(envoygateway.Run)
	if err != nil {
		return nil, source.Batch{}, err
	}
	servers, err := serversOf(said)
	if err != nil {
		return nil, source.Batch{}, err
	}
	src, err := file.New(file.Options{
		Paths: paths, Input: input, Workers: runtime.GOMAXPROCS(0), Extensions: servers.kinds,
	})
	if err != nil {
		return nil, source.Batch{}, err
	}
	batch, err := src.Load(ctx)
	if err != nil {
		return nil, source.Batch{}, err
	}
	batch.Notices = slices.Concat(said.Notices, batch.Notices)
	opts := pipelineOptions(localControllers(said))
	opts.Extensions, opts.NoBackends = servers.unasked(), said.NoBackends()
	// The same bytes on every machine.
	opts.Bind, opts.SystemCAs = "0.0.0.0", systemCAs[0]
	opts.SessionKey = pki.Seed{}.Key // it is not shown, and serves nobody
	p := pipeline.New(opts)
	out := p.Apply(batch.Set, batch.Delete, nil)
	if len(out.Result.Faults) > 0 {
		return nil, source.Batch{}, out.Result.Faults[0]
	}
	return p, batch, nil
}
