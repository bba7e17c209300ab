package e2e

import (
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/test/echo"
	"github.com/sluice-gateway/sluice/test/program"
)

// shared is what all tests share: the binary, Envoy, and the backends one, two and three.
var shared struct {
	binary   string
	envoy    string
	missing  string // Why there is no Envoy.
	backends map[string]*echo.Server
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzWorker() {
		os.Exit(m.Run()) // It works in this process: what follows is for the other tests.
	}
	// Each instance is a control plane and an Envoy: more than two at a time only make each other slow.
	if err := flag.Set("test.parallel", "2"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if shared.binary, err = program.Binary(dir); err != nil {
		return 0, err
	}
	if shared.envoy, shared.missing = program.Envoy(shared.binary); shared.envoy == "" && os.Getenv("CI") == "true" {
		return 0, fmt.Errorf("no Envoy to test with: %s", shared.missing)
	}
	shared.backends = map[string]*echo.Server{}
	for _, name := range []string{"one", "two", "three"} {
		s, err := echo.Listen(name, "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		defer func() { _ = s.Close() }()
		shared.backends[name] = s
	}
	return m.Run(), nil
}

// needEnvoy skips a test if there is no Envoy.
func needEnvoy(t *testing.T) {
	t.Helper()
	if shared.envoy == "" {
		t.Skip(shared.missing)
	}
}

var sequence atomic.Int64

// once returns a path that no other request of this process has: the backends, which all tests share, count by path.
func once(path string) string { return fmt.Sprintf("%s-%d", path, sequence.Add(1)) }
