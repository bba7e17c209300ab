package docs

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/program"
)

// root is the root of the repository.
const root = "../.."

// shared is what all tests share: the binary, Envoy, and why there is none.
var shared struct {
	binary, envoy, missing string
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Each page is a control plane and an Envoy: more than two at a time only make each other slow.
	if err := flag.Set("test.parallel", "2"); err != nil {
		panic(err)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "sluice-docs-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := lookAtSources(); err != nil {
		return 0, err
	}
	if shared.binary, err = program.Binary(dir); err != nil {
		return 0, err
	}
	shared.envoy, shared.missing = program.Envoy(shared.binary)
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil && shared.missing == "" {
			shared.missing = tool + " is not installed: the pages are tested with it"
		}
	}
	if shared.missing != "" && os.Getenv("CI") == "true" {
		return 0, fmt.Errorf("the pages cannot be tested: %s", shared.missing)
	}
	return m.Run(), nil
}

// lookAtSources has the go command know that the result depends on the program: it does not see what is built here,
// and would go on showing a cached result.
func lookAtSources() error {
	for _, dir := range []string{"cmd", "internal", "docs/reference/gen", "test/echo", "charts"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			_, err = os.Stat(path)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// needEnvoy skips a test where pages cannot be run.
func needEnvoy(t *testing.T) {
	t.Helper()
	if shared.missing != "" {
		t.Skip(shared.missing)
	}
}
