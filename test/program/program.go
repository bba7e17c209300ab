// Package program finds what tests of the whole program need: the binary and Envoy.
package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binary returns the path of the sluice to test: $SLUICE_BINARY, or one that it builds into dir.
func Binary(dir string) (string, error) {
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

// Envoy returns the path of the Envoy to test with: $SLUICE_ENVOY, else the one that the binary would use, if there is
// a binary. If there is none it returns why.
func Envoy(binary string) (path, missing string) {
	if path := os.Getenv("SLUICE_ENVOY"); path != "" {
		return path, ""
	}
	out, err := exec.Command(binary, "envoy", "path").Output()
	if err != nil {
		return "", "SLUICE_ENVOY is not set, envoy is not on PATH and not in Sluice's cache; run `sluice envoy install`"
	}
	return strings.TrimSpace(string(out)), ""
}

// Output collects what a process prints. It is safe for concurrent use.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write adds to what was printed.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns all that was printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
