package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/echo"
)

// program is what all tests share: the binary, Envoy, and the backends one, two and three.
var program struct {
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
	if program.binary, err = binary(dir); err != nil {
		return 0, err
	}
	if program.envoy, program.missing = findEnvoy(); program.envoy == "" && os.Getenv("CI") == "true" {
		return 0, fmt.Errorf("no Envoy to test with: %s", program.missing)
	}
	program.backends = map[string]*echo.Server{}
	for _, name := range []string{"one", "two", "three"} {
		s, err := echo.Listen(name, "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		defer func() { _ = s.Close() }()
		program.backends[name] = s
	}
	return m.Run(), nil
}

// binary returns the sluice to test.
func binary(dir string) (string, error) {
	if path := os.Getenv("SLUICE_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "sluice")
	cmd := exec.Command("go", "build", "-o", path, "github.com/sluice-gateway/sluice/cmd/sluice")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return path, nil
}

// findEnvoy returns the path of an Envoy, or why there is none.
func findEnvoy() (path, missing string) {
	if path := os.Getenv("SLUICE_ENVOY"); path != "" {
		return path, ""
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, ""
	}
	out, err := exec.Command(program.binary, "envoy", "path").Output()
	if err != nil {
		return "", "SLUICE_ENVOY is not set, envoy is not on PATH and not in Sluice's cache; run `sluice envoy install`"
	}
	return strings.TrimSpace(string(out)), ""
}

// needEnvoy skips a test if there is no Envoy.
func needEnvoy(t *testing.T) {
	t.Helper()
	if program.envoy == "" {
		t.Skip(program.missing)
	}
}
