// Package envoytest finds a real Envoy for tests.
package envoytest

import (
	"os"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// Binary returns the path of the Envoy to test with: the one that SLUICE_ENVOY names, else the one on PATH, else the
// one in Sluice's cache. Without one the test is skipped, but fails where CI is "true".
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := local.Find(t.Context(), local.Options{Path: os.Getenv("SLUICE_ENVOY")})
	switch {
	case err == nil:
		return binary.Path
	case os.Getenv("CI") == "true" || os.Getenv("SLUICE_ENVOY") != "":
		t.Fatalf("the test needs Envoy: %v", err)
	default:
		t.Skipf("the test needs Envoy: %v; or set SLUICE_ENVOY", err)
	}
	return ""
}
