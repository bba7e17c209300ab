package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/process"
)

const peerClass = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: host, namespace: default}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: host, namespace: default}
spec:
  concurrency: 1
  provider:
    type: Host
    host: {envoyVersion: 1.40.0}
`

const peerConfig = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider:
  type: Custom
  custom:
    resource: {type: File, file: {paths: [%[1]s/config]}}
    infrastructure:
      type: Host
      host:
        configHome: %[1]s/home
        dataHome: %[1]s/home
        stateHome: %[1]s/home
        runtimeDir: %[1]s/run
logging: {level: {default: error}}
extensionApis: {enableBackend: true}
`

// startPeer runs Envoy Gateway in its file mode on the same routes and with the same Envoy.
func startPeer(b *bench, n int, single bool) (*gateway, error) {
	root, err := b.folder("peer")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c := &config{port: port, backend: b.backend, single: single}
	if err := c.create(root, "eg", n); err != nil {
		return nil, err
	}
	if err := c.write("class.yaml", []byte(peerClass)); err != nil {
		return nil, err
	}
	if err := b.peerHome(root); err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := process.Start(filepath.Join(root, "log"), b.peer, "server", "--config-path", filepath.Join(root, "eg.yaml"))
	if err != nil {
		return nil, err
	}
	return &gateway{Process: p, address: fmt.Sprintf("127.0.0.1:%d", port), config: c, began: began}, nil
}

// peerHome prepares what Envoy Gateway wants to find: its configuration, certificates, and Envoy where it would have
// been downloaded to.
func (b *bench) peerHome(root string) error {
	bin := filepath.Join(root, "home", "envoy-versions", "1.40.0", "bin")
	for _, dir := range []string{bin, filepath.Join(root, "run")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	envoy, err := filepath.Abs(b.envoy)
	if err != nil {
		return err
	}
	if err := os.Symlink(envoy, filepath.Join(bin, "envoy")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "eg.yaml"), fmt.Appendf(nil, peerConfig, root), 0o600); err != nil {
		return err
	}
	out, err := exec.Command(b.peer, "certgen", "--local", "--config-home", filepath.Join(root, "home")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("envoy-gateway certgen: %w\n%s", err, out)
	}
	return nil
}
