package resolve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// TestA49ServersOfURLs names servers in policies: what no Backend may lead to, no URL may.
func TestA49ServersOfURLs(t *testing.T) {
	const cas = "/etc/ca.pem"
	for _, tt := range []struct {
		url   string
		cas   string
		local bool
		want  string
	}{
		{"https://issuer.example/keys", cas, false, ""},
		{"http://192.0.2.1:8080/keys", "", false, ""},
		{"https://issuer.example/keys", "", false, "no CA certificates"},
		{"https://192.0.2.1/keys", cas, false, "has no name"},
		{"issuer.example/keys", cas, false, "no URL"},
		{"file:///etc/passwd", cas, false, "no URL"},
		{"https://me:secret@issuer.example/", cas, false, "no URL"},
		{"http://127.0.0.1:19000/config_dump", cas, false, "own machine"},
		{"http://[::1]:19000/", cas, false, "own machine"},
		{"http://[::ffff:127.0.0.1]:19000/", cas, false, "own machine"},
		{"http://169.254.169.254/latest/meta-data", cas, false, "own machine"},
		{"http://localhost:19000/", cas, false, "own machine"},
		{"https://x.LOCALHOST./", cas, false, "own machine"},
		{"http://0.0.0.0/", cas, false, "not the address of a machine"},
		{"http://127.0.0.1:19000/", cas, true, ""},
	} {
		v := &fieldResolver{t: &Tables{opts: Options{SystemCAs: tt.cas, LocalBackends: tt.local}}}
		key := v.server(Reference{Path: "spec.x", URL: tt.url})
		if refused := key == (model.BackendKey{}); refused != (tt.want != "") || refused != (len(v.out.Report) > 0) {
			t.Errorf("%s is %v, with %v", tt.url, key, v.out.Report)
		}
		for _, issue := range v.out.Report {
			if !strings.Contains(issue.Message, tt.want) || issue.Path != "spec.x" {
				t.Errorf("%s: %v, want %q", tt.url, issue, tt.want)
			}
		}
	}
}

// TestServerBackend says that a server is resolved by Envoy, and is believed by its name only.
func TestServerBackend(t *testing.T) {
	secure, _ := model.Server("https://issuer.example:8443/keys")
	want := model.Backend{Key: secure, Address: model.AddressDNS, TLS: &model.BackendTLS{
		SNI: "issuer.example", Trust: model.SystemTrust, Names: []model.SubjectName{{Value: "issuer.example"}},
	}}
	if got := serverBackend(secure); got.Key != want.Key || got.Address != want.Address || !got.TLS.Equal(want.TLS) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if diff := cmp.Diff([]model.Endpoint{{Address: "issuer.example", Port: 8443}}, serverEndpoints(secure)); diff != "" {
		t.Error(diff)
	}
	if got := serverBackend(secure); got.Protocol != model.AppHTTP {
		t.Errorf("it is spoken to as %q, want HTTP/1.1", got.Protocol)
	}
	calls := secure
	calls.Use = model.AppGRPC
	if got := serverBackend(calls); got.Protocol != model.AppGRPC {
		t.Errorf("it is spoken to as %q, want gRPC", got.Protocol)
	}
	plain, _ := model.Server("http://[2001:db8::1]/")
	if got := serverBackend(plain); got.Address != model.AddressIP || got.TLS != nil {
		t.Errorf("got %+v, want an address without TLS", got)
	}
	if diff := cmp.Diff([]model.Endpoint{{Address: "2001:db8::1", Port: 80}}, serverEndpoints(plain)); diff != "" {
		t.Error(diff)
	}
}
