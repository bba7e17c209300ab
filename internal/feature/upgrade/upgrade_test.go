package upgrade

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

type list = []*egv1a1.ProtocolUpgradeConfig

func TestGolden(t *testing.T) { featuretest.Golden[list](t, Feature{}) }

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		spec   list
		beside string
		want   string
	}{
		{nil, "requestBuffer", ""},
		{list{{Type: "websocket"}, {Type: "spdy/3.1"}}, "retry", ""},
		{list{{Type: "CONNECT", Connect: &egv1a1.ConnectConfig{}}}, "", ""},
		{list{{Type: "two words"}}, "", "is no protocol"},
		{list{{Type: "a/"}}, "", "is no protocol"},
		{list{{Type: "H2C"}}, "", "send others past the Gateway"},
		{list{{Type: "websocket"}, {Type: "WebSocket"}}, "", "more than once"},
		{list{{Type: "websocket", Connect: &egv1a1.ConnectConfig{}}}, "", "for the type CONNECT alone"},
		{list{{Type: "websocket"}}, "requestBuffer", "remove one of the two"},
	} {
		a := model.Attached{Feature: Feature{}.Name(), Spec: tt.spec}
		rule := &model.Rule{Attached: []model.Attached{a, {Feature: "BackendTrafficPolicy." + tt.beside}}}
		featuretest.Expect(t, Feature{}.Check(a, rule), tt.want)
	}
}

// TestMatches says for which matches of a rule there are CONNECT requests.
func TestMatches(t *testing.T) {
	header := []model.NamedMatch{{Name: "x-a", ValueMatch: model.ValueMatch{Value: "1"}}}
	connect := model.Match{Path: model.ValueMatch{Type: model.Connect}, Headers: header}
	for name, tt := range map[string]struct {
		spec list
		in   model.Match
		want []model.Match
	}{
		"no CONNECT":   {list{{Type: "websocket"}}, model.Match{}, nil},
		"any method":   {list{{Type: "connect"}}, model.Match{Headers: header}, []model.Match{connect}},
		"CONNECT":      {list{{Type: "CONNECT"}}, model.Match{Method: "CONNECT", Headers: header}, []model.Match{connect}},
		"other method": {list{{Type: "CONNECT"}}, model.Match{Method: "GET"}, nil},
		"query":        {list{{Type: "CONNECT"}}, model.Match{Query: header}, nil},
	} {
		if diff := cmp.Diff(tt.want, Feature{}.Matches(model.Attached{Spec: tt.spec}, nil, tt.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
