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
)

// root is the root of the repository.
const root = "../.."

// program is what all tests share: the binary, Envoy, and why there is none.
var program struct {
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
	if program.binary, err = binary(dir); err != nil {
		return 0, err
	}
	program.envoy, program.missing = findEnvoy()
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil && program.missing == "" {
			program.missing = tool + " is not installed: the pages are tested with it"
		}
	}
	if program.missing != "" && os.Getenv("CI") == "true" {
		return 0, fmt.Errorf("the pages cannot be tested: %s", program.missing)
	}
	return m.Run(), nil
}

// lookAtSources has the go command know that the result depends on the program: it does not see what is built here,
// and would go on showing a cached result.
func lookAtSources() error {
	for _, dir := range []string{"cmd", "internal", "docs/reference/gen", "test/echo"} {
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

// needEnvoy skips a test where pages cannot be run.
func needEnvoy(t *testing.T) {
	t.Helper()
	if program.missing != "" {
		t.Skip(program.missing)
	}
}
