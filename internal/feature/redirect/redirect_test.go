package redirect

import (
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPRequestRedirectFilter](t, Feature{})
}

// The cases are those of the conformance test HTTPRouteRedirectPortAndScheme.
func TestPort(t *testing.T) {
	tests := []struct {
		name   string
		port   uint16
		secure bool
		scheme string
		host   string
		ask    int32
		want   uint32
	}{
		{"nothing asked on 80", 80, false, "", "", 0, 0},
		{"80 on 80", 80, false, "", "", 80, 0},
		{"8080 on 80", 80, false, "", "", 8080, 8080},
		{"https on 80", 80, false, "https", "", 0, 0},
		{"https 443 on 80", 80, false, "https", "", 443, 0},
		{"https 8443 on 80", 80, false, "https", "", 8443, 8443},
		{"nothing asked on 8080", 8080, false, "", "", 0, 8080},
		{"80 on 8080 overrides the Host's port", 8080, false, "", "", 80, 80},
		{"https on 8080 overrides the Host's port", 8080, false, "https", "", 0, 443},
		{"https on 8080 with a host of its own", 8080, false, "https", "a.test", 0, 0},
		{"nothing asked on 8080 with a host of its own", 8080, false, "", "a.test", 0, 8080},
		{"nothing asked on 443", 443, true, "", "", 0, 0},
		{"443 on 443", 443, true, "", "", 443, 0},
		{"http on 443", 443, true, "http", "", 0, 0},
		{"http 8080 on 443", 443, true, "http", "", 8080, 8080},
		{"443 on plain 443 is not its scheme's", 443, false, "", "", 0, 443},
	}
	for _, tt := range tests {
		r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
		r.Port, r.Secure = tt.port, tt.secure
		spec := &gwv1.HTTPRequestRedirectFilter{}
		if tt.scheme != "" {
			spec.Scheme = &tt.scheme
		}
		if tt.host != "" {
			host := gwv1.PreciseHostname(tt.host)
			spec.Hostname = &host
		}
		if tt.ask != 0 {
			spec.Port = &tt.ask
		}
		Feature{}.ApplyRoute(r, model.Attached{Spec: spec})
		if got := r.Proto.GetRedirect().GetPortRedirect(); got != tt.want {
			t.Errorf("%s: port %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	ftp, http, teapot, see := "ftp", "http", 418, 303
	query := &gwv1.HTTPPathModifier{Type: gwv1.FullPathHTTPPathModifier, ReplaceFullPath: new("/a?b=c")}
	tests := []struct {
		name string
		spec gwv1.HTTPRequestRedirectFilter
		want string
	}{
		{"empty", gwv1.HTTPRequestRedirectFilter{}, ""},
		{"fine", gwv1.HTTPRequestRedirectFilter{Scheme: &http, StatusCode: &see}, ""},
		{"scheme", gwv1.HTTPRequestRedirectFilter{Scheme: &ftp}, "use http or https"},
		{"code", gwv1.HTTPRequestRedirectFilter{StatusCode: &teapot}, "not a redirect"},
		{"path", gwv1.HTTPRequestRedirectFilter{Path: query}, "percent-encode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
		})
	}
}
