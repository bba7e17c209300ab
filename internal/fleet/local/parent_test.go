package local_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// asParent in the environment makes the test binary a program that starts Envoy in the directory that it names, says
// where, and waits to be killed.
const asParent = "SLUICE_TEST_PARENT"

func TestMain(m *testing.M) {
	if base := os.Getenv(asParent); base != "" {
		parent(base)
	}
	os.Exit(m.Run())
}

func parent(base string) {
	fail := func(err error) {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := local.OpenRuntimeDir(base)
	if err != nil {
		fail(err)
	}
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Node: "test", Cluster: "test", XDSSocket: dir.XDSSocket(), AdminSocket: dir.AdminSocket(),
	})
	if err != nil {
		fail(err)
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		fail(err)
	}
	envoy, err := local.Start(context.Background(), local.Config{
		Binary: os.Getenv("SLUICE_ENVOY"), Dir: dir, Bootstrap: raw,
	})
	if err != nil {
		fail(err)
	}
	fmt.Println(envoy.Pid(), dir.Path())
	select {}
}

func TestEnvoyDiesWithItsParent(t *testing.T) {
	binary := envoytest.Binary(t)
	base, err := os.MkdirTemp("/tmp", "fleet") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base) //nolint:errcheck // asserted below
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asParent+"="+base, "SLUICE_ENVOY="+binary)
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the parent has not started Envoy: %v", err)
	}
	number, path, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || gone(pid) {
		t.Fatalf("Envoy runs as process %q: %v", number, err)
	}

	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, deadline, "Envoy is gone", func() bool { return gone(pid) })

	// What it left is removed by the next who comes.
	if left, err := filepath.Glob(path + "/*"); err != nil || len(left) == 0 {
		t.Errorf("left behind: %v, %v; want files to remove", left, err)
	}
	dir, err := local.OpenRuntimeDir(base)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Remove() //nolint:errcheck // a test directory
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", path, err)
	}
}
