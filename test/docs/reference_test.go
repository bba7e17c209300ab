package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const generator = "github.com/sluice-gateway/sluice/docs/reference/gen"

// TestReference generates the reference anew and compares it with what is there.
func TestReference(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "run", generator, "-out", dir, "-sluice", shared.binary)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate the reference: %v\n%s", err, out)
	}
	pages, err := os.ReadDir(dir)
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages are generated: %v", err)
	}
	for _, page := range pages {
		want, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(filepath.Join(root, "docs", "reference", page.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(have)); diff != "" {
			t.Errorf("docs/reference/%s is stale: run `go generate ./docs/reference/gen` (-want +have):\n%s", page.Name(), diff)
		}
	}
}

var metricName = regexp.MustCompile(`(?m)^# HELP (sluice_\w+) `)

// TestMetricsAreDocumented compares the metrics of a running instance with the reference: the generator sees only those
// that it makes happen.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	needEnvoy(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, "metrics")
	r.start()
	metrics, err := r.command("curl -s localhost:19000/metrics")
	if err != nil {
		t.Fatal(err)
	}
	found := metricName.FindAllStringSubmatch(metrics, -1)
	if len(found) == 0 {
		t.Fatalf("no metrics in %q", metrics)
	}
	for _, m := range found {
		if !strings.Contains(string(page), "`"+m[1]+"`") {
			t.Errorf("%s is not in docs/reference/metrics.md: have docs/reference/gen make it happen", m[1])
		}
	}
}
