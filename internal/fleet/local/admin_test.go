package local_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

func TestAdmin(t *testing.T) {
	r := start(t, time.Second)
	admin := r.Admin()
	for range 3 {
		if _, err := get(r.url); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := admin.Stats(t.Context(), `^http\.test\.downstream_rq_(total|2xx|time)$`)
	if err != nil {
		t.Fatal(err)
	}
	// downstream_rq_time is a histogram.
	if len(stats) != 2 || stats["http.test.downstream_rq_total"] != 3 || stats["http.test.downstream_rq_2xx"] != 3 {
		t.Errorf("stats %v, want 3 requests, all 2xx", stats)
	}
	info, err := admin.ServerInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.GetState() != adminv3.ServerInfo_LIVE || info.GetNode().GetId() != "test" {
		t.Errorf("state %s of node %q", info.GetState(), info.GetNode().GetId())
	}
	if version, ok := fleet.ParseEnvoyVersion("version: " + info.GetVersion()); !ok {
		t.Errorf("version %q of %q", version, info.GetVersion())
	}
	options := info.GetCommandLineOptions()
	drain := options.GetDrainTime().AsDuration()
	if !options.GetDisableHotRestart() || options.GetConcurrency() != 1 || drain != time.Minute {
		t.Errorf("command line %v", options)
	}
	dump, err := admin.ConfigDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(dump) || !strings.Contains(string(dump), "envoy.admin.v3.EndpointsConfigDump") {
		t.Errorf("configuration of %d bytes, without endpoints", len(dump))
	}
	if _, err := admin.Get(t.Context(), "/nonsense"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("GET /nonsense: %v, want status 404", err)
	}
}

func TestAdminWithoutEnvoy(t *testing.T) {
	if err := (local.Admin{Socket: t.TempDir() + "/none"}).Ready(t.Context()); err == nil {
		t.Error("nobody is ready")
	}
}
