package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// metricName is a metric in an expression of Prometheus.
var metricName = regexp.MustCompile(`\b(?:sluice|envoy|process)_[a-z0-9_]+`)

// labels of Envoy's metrics have names like metrics.
var envoyLabels = []string{"envoy_cluster_name", "envoy_response_code_class", "envoy_http_conn_manager_prefix"}

// TestDashboards looks for each metric and label that the dashboards ask for, after some traffic, at a control plane
// and its Envoy.
func TestDashboards(t *testing.T) {
	t.Parallel()
	in := start(t, files{"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{${one}}]}, {matches: [{path: {value: /broken}}], backendRefs: [{` + backendGroup + `broken}]}]
`, "broken.yaml": localService("broken", freePort(t))})
	in.must(t, request{path: "/"}, expect{backend: "one"})
	in.must(t, request{path: "/broken"}, expect{status: http.StatusServiceUnavailable})
	own, err := in.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	there := string(own) + string(reference) + in.envoyMetrics(t)
	dashboards, err := filepath.Glob("../../docs/dashboard/*.json")
	if err != nil || len(dashboards) != 2 {
		t.Fatalf("the dashboards are %q, %v", dashboards, err)
	}
	for _, file := range dashboards {
		t.Run(filepath.Base(file), func(t *testing.T) {
			expressions := readDashboard(t, file)
			if len(expressions) < 10 {
				t.Errorf("only %d expressions were found", len(expressions))
			}
			for _, expression := range expressions {
				for _, name := range metricName.FindAllString(expression, -1) {
					if !has(there, name) {
						t.Errorf("nobody has %s, which %s asks for", name, expression)
					}
				}
			}
		})
	}
	for _, label := range envoyLabels {
		if !strings.Contains(there, label+`="`) {
			t.Errorf("Envoy's metrics have no label %s", label)
		}
	}
}

// has reports whether a metric is there, or the histogram that it is part of.
func has(there, name string) bool {
	plain := strings.TrimSuffix(name, "_bucket")
	for _, label := range envoyLabels {
		if name == label {
			return true // looked for as a label
		}
	}
	return regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(plain) + `\b`).MatchString(there)
}

// readDashboard returns the expressions of a dashboard.
func readDashboard(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Definition string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			out = append(out, target.Expr)
		}
	}
	for _, v := range dashboard.Templating.List {
		out = append(out, v.Definition)
	}
	return out
}

// envoyMetrics are those of the instance's Envoy, as Prometheus gets them.
func (in *instance) envoyMetrics(t *testing.T) string {
	t.Helper()
	return in.askEnvoy(t, "/stats/prometheus")
}

// askEnvoy asks the admin interface of the instance's Envoy.
func (in *instance) askEnvoy(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", in.adminSocket(t))
		},
	}}
	res, err := client.Get("http://envoy" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
