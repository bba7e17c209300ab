package grpcweb

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// The filter is on every listener and runs for nobody, but where a route enables it.
func TestOnlyRoutesEnableIt(t *testing.T) {
	standing := Feature{}.Standing()
	if len(standing) != 1 || !standing[0].Disabled {
		t.Fatalf("the filters of listeners are %+v, want one that is disabled", standing)
	}
	match := featuretest.PrefixMatch("/")
	r := featuretest.NewRoute(&model.Rule{GRPC: true, Matches: []model.Match{match}}, match)
	Feature{}.ApplyRoute(r, model.Attached{})
	config := new(routev3.FilterConfig)
	if err := r.Proto.GetTypedPerFilterConfig()[standing[0].Name].UnmarshalTo(config); err != nil {
		t.Fatal(err)
	}
	// Envoy takes a config without a type for "enabled", and no config for a mistake.
	if config.GetDisabled() || config.GetConfig() == nil || config.GetConfig().GetTypeUrl() != "" {
		t.Errorf("the route says %v", config)
	}
}
