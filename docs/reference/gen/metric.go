package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/service"
	"github.com/sluice-gateway/sluice/internal/status/kube"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const metricIntroduction = `# Metrics

What ` + "`/metrics`" + ` of the admin API has, in Prometheus' format. They are Sluice's own; besides them there are the
usual ones of the Go runtime (` + "`go_`" + `) and of the process (` + "`process_`" + `). Those of Envoys are at
port 19001 of each; there are [dashboards](../dashboard/README.md) for both. Those of rate limits are where requests are
counted: in ` + "`sluice run`" + `, or in ` + "`sluice ratelimit`" + `.

| metric | type | labels | what it is |
| --- | --- | --- | --- |
`

// metric is what the page says of one metric.
type metric struct {
	kind, text string
	labels     map[string]bool
}

// metricPage returns the page of the metrics as a running instance would show them after every kind of event.
func metricPage() (string, error) {
	m := ops.NewMetrics()
	m.Stage("read", time.Millisecond)
	m.Computed(incr.Result{Tables: []incr.TableWork{{Table: "routes", Recomputed: 1}}})
	for kind := xds.Connected; kind <= xds.Live; kind++ {
		m.Observe(xds.Event{Kind: kind, Type: xds.Routes})
	}
	if err := countOne(m.Registry()); err != nil {
		return "", err
	}
	writer, err := kube.NewWriter(kube.Options{Config: &rest.Config{}})
	if err != nil {
		return "", fmt.Errorf("metrics of statuses: %w", err)
	}
	if err := m.Registry().Register(writer); err != nil {
		return "", fmt.Errorf("metrics of statuses: %w", err)
	}
	admin := ops.Admin{Metrics: m.Registry()}
	request := httptest.NewRequest(http.MethodGet, "http://localhost/metrics", nil)
	answer := httptest.NewRecorder()
	admin.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		return "", fmt.Errorf("/metrics answers with %d", answer.Code)
	}
	all, err := parseMetrics(answer.Body.String())
	if err != nil {
		return "", err
	}
	var page strings.Builder
	page.WriteString(metricIntroduction)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		labels := "none"
		if len(all[name].labels) > 0 {
			labels = "`" + strings.Join(slices.Sorted(maps.Keys(all[name].labels)), "`, `") + "`"
		}
		_, _ = fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", name, all[name].kind, labels, all[name].text)
	}
	return page.String(), nil
}

// countOne adds the metrics of a rate-limit service that has decided once.
func countOne(registry *prometheus.Registry) error {
	memory, m := ratelimit.NewMemory(0), service.NewMetrics()
	m.Watch(memory)
	if err := registry.Register(m); err != nil {
		return fmt.Errorf("metrics of rate limits: %w", err)
	}
	_, err := service.New(service.Options{Store: memory, Metrics: m}).ShouldRateLimit(context.Background(),
		&rlsv3.RateLimitRequest{Domain: "docs", Descriptors: []*commonv3.RateLimitDescriptor{{
			Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: ratelimit.KeyLimit, Value: "1/Second"}},
		}}})
	return err
}

var (
	commentLine = regexp.MustCompile(`^# (HELP|TYPE) (sluice_\w+) (.*)$`)
	sampleLine  = regexp.MustCompile(`^(sluice_\w+?)(?:_bucket|_sum|_count)?\{(.*)\}`)
	labelName   = regexp.MustCompile(`(\w+)="`)
)

// parseMetrics reads Prometheus' text format, as far as it is about Sluice's own metrics.
func parseMetrics(text string) (map[string]*metric, error) {
	all := map[string]*metric{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if c := commentLine.FindStringSubmatch(lines.Text()); c != nil {
			if all[c[2]] == nil {
				all[c[2]] = &metric{labels: map[string]bool{}}
			}
			if c[1] == "HELP" {
				all[c[2]].text = c[3]
			} else {
				all[c[2]].kind = c[3]
			}
		}
		s := sampleLine.FindStringSubmatch(lines.Text())
		if s == nil || all[s[1]] == nil {
			continue
		}
		for _, label := range labelName.FindAllStringSubmatch(s[2], -1) {
			if label[1] != "le" { // a histogram's own
				all[s[1]].labels[label[1]] = true
			}
		}
	}
	return all, lines.Err()
}
