package envoy

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	keyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	basicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// What is secret must not be shown, wherever it is in a resource, and all else must be.
func TestA51RenderHidesSecrets(t *testing.T) {
	scope := &feature.Scope{}
	scope.Add("basic", &basicv3.BasicAuth{Users: inline([]byte("me:hush"))})
	scope.Add("key", &keyv3.ApiKeyAuth{Credentials: []*keyv3.Credential{{Key: "hush", Client: "shown"}}})
	scope.AddWith("ask", &authzv3.ExtAuthz{}, &authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_CheckSettings{
		CheckSettings: &authzv3.CheckSettings{ContextExtensions: map[string]string{"shown": "hush"}},
	}})
	tests := map[string]struct {
		typ xds.Type
		m   proto.Message
	}{
		"filters of a route table": {xds.Routes, &routev3.RouteConfiguration{
			Name: "shown", TypedPerFilterConfig: scope.Fill(feature.OfRoute, nil),
		}},
		"private key": {xds.Secret, &tlsv3.Secret{Name: "shown", Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{PrivateKey: inline([]byte("hush"))},
		}}},
		"any secret": {xds.Secret, &tlsv3.Secret{Name: "shown", Type: &tlsv3.Secret_GenericSecret{
			GenericSecret: &tlsv3.GenericSecret{Secret: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: "hush"},
			}},
		}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := marshal(tt.m)
			got, err := Render(tt.typ, &xds.Resource{Name: "shown", Body: body})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(got), "hush") || !strings.Contains(string(got), "shown") {
				t.Errorf("got %s", got)
			}
		})
	}
}
