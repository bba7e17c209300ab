package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/echo"
)

// bench is what the scenarios share.
type bench struct {
	options
	table table.Table
	dir   string
	// backend is the port on which every loopback address has the backend.
	backend  int
	listener net.Listener
	sessions int
}

func newBench(o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir}
	if err := b.find(); err != nil {
		b.close()
		return nil, err
	}
	// All of 127.0.0.0/8 is this machine: thousands of backends with an address each need one socket. The server turns
	// away what is not for a loopback address.
	if b.listener, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil {
		b.close()
		return nil, err
	}
	b.backend = b.listener.Addr().(*net.TCPAddr).Port
	go func() { _ = echo.ServeFixed(b.listener) }()
	return b, nil
}

func (b *bench) close() {
	if b.listener != nil {
		_ = b.listener.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// find builds or finds the programs.
func (b *bench) find() error {
	if b.sluice == "" {
		b.sluice = filepath.Join(b.dir, "sluice")
		cmd := exec.Command("go", "build", "-o", b.sluice, "github.com/sluice-gateway/sluice/cmd/sluice")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build sluice: %w\n%s", err, out)
		}
	}
	if b.envoy == "" {
		b.envoy = os.Getenv("SLUICE_ENVOY")
	}
	if b.envoy == "" {
		b.envoy, _ = exec.LookPath("envoy")
	}
	if b.envoy == "" {
		out, err := exec.Command(b.sluice, "envoy", "path").Output()
		if err != nil {
			return errors.New("no Envoy found: name one with -envoy or run `sluice envoy install`")
		}
		b.envoy = strings.TrimSpace(string(out))
	}
	return nil
}

// freePort returns a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// folder makes a new folder below the bench's own.
func (b *bench) folder(name string) (string, error) {
	b.sessions++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.sessions))
	return dir, os.Mkdir(dir, 0o700)
}
