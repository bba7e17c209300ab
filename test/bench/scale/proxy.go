package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/process"
)

// proxy is an Envoy of a Gateway, as a pod would run it.
type proxy struct {
	*process.Process
	port      int
	conn      *load.Conn
	pollEvery time.Duration
}

// proxy starts an Envoy with the bootstrap and the identity of one in a pod. port is one of the Gateway's.
func (w *world) proxy(ctx context.Context, gateway string, port int) (*proxy, error) {
	authority, err := w.authority(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(w.dir, "envoy-")
	if err != nil {
		return nil, err
	}
	name := model.ProxyName(gatewayNamespace + "/" + gateway)
	pair, err := authority.Issue(name)
	if err != nil {
		return nil, err
	}
	bootstrap, err := w.bootstrap(dir, string(name), pair)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(w.log("envoy-"+gateway), w.envoy, "--config-path", bootstrap, "--service-node", "pod-1",
		"--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
	if err != nil {
		return nil, err
	}
	out := &proxy{Process: p, port: port, pollEvery: pollEvery}
	out.conn = load.NewConn(out.address())
	return out, nil
}

// another is the same Envoy by a connection of its own, which is dialled otherwise than by an ordinary dialer unless
// dial is nil.
func (p *proxy) another(dial load.Dial) *proxy {
	out := &proxy{Process: p.Process, port: p.port, conn: load.NewConn(p.address()), pollEvery: p.pollEvery}
	out.conn.Use(dial, "")
	return out
}

func (p *proxy) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// bootstrap writes the files that an Envoy starts with, and returns the first.
func (w *world) bootstrap(dir, node string, pair pki.Pair) (string, error) {
	xds, err := netip.ParseAddrPort(w.plane.xds)
	if err != nil {
		return "", err
	}
	remote := &fleet.Remote{
		Host: xds.Addr().String(), Port: xds.Port(), Identity: pki.ControlPlane,
		CertificateSecret: filepath.Join(dir, "certificate.json"), AuthoritySecret: filepath.Join(dir, "authority.json"),
	}
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Cluster: node, Remote: remote, AdminSocket: filepath.Join(dir, "admin.sock"),
	})
	if err != nil {
		return "", err
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		return "", err
	}
	certificate, authority, err := fleet.SecretFiles(dir)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bootstrap.json")
	for file, data := range map[string][]byte{
		path: raw, remote.CertificateSecret: certificate, remote.AuthoritySecret: authority,
		filepath.Join(dir, "tls.crt"): pair.Certificate, filepath.Join(dir, "tls.key"): pair.Key,
		filepath.Join(dir, "ca.crt"): pair.CA,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// Stop ends the Envoy.
func (p *proxy) Stop() {
	p.conn.Close()
	p.Process.Stop()
}

// pollEvery is how often a change is looked for: the resolution of all times measured. While many things change it is
// rarer, for else the requests that look take the core that they are to measure.
const (
	pollEvery       = 500 * time.Microsecond
	pollEveryOfMany = 10 * time.Millisecond
)

// answers polls a host and path until it is answered with 200, and returns when that was.
func (p *proxy) answers(ctx context.Context, host, path string) (time.Time, error) {
	req := load.NewRequest(host, path, nil)
	for end := time.Now().Add(patience); ; time.Sleep(p.pollEvery) {
		status, err := p.conn.Do(req)
		now := time.Now()
		switch {
		case err == nil && status == 200:
			return now, nil
		case ctx.Err() != nil:
			return now, ctx.Err()
		case p.Running() != nil:
			return now, p.Running()
		case now.After(end):
			return now, fmt.Errorf("%s%s: not answered with 200 after %v (last: %d, %w)", host, path, patience, status, err)
		}
	}
}

// request is one for a route that was changed k times.
func request(i, k int) load.Request { return load.NewRequest(hostOf(i), pathOf(k), nil) }
