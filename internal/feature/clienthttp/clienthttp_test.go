package clienthttp

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.HTTP1Settings](t, HTTP1{}, "testdata/ClientTrafficPolicy.http1")
	featuretest.GoldenIn[egv1a1.HTTP2Settings](t, HTTP2{}, "testdata/ClientTrafficPolicy.http2")
	featuretest.GoldenIn[egv1a1.SchemeHeaderTransform](t, Scheme{}, "testdata/ClientTrafficPolicy.scheme")
	featuretest.GoldenIn[egv1a1.GRPCSettings](t, GRPC{}, "testdata/ClientTrafficPolicy.grpc")
	featuretest.GoldenIn[egv1a1.HealthCheckSettings](t, HealthCheck{}, "testdata/ClientTrafficPolicy.healthCheck")
}

// TestSafeDuration: the duration of connections ends with a response unless http1 says otherwise.
func TestSafeDuration(t *testing.T) {
	for disable, want := range map[bool]bool{true: false, false: true} {
		l := featuretest.NewListener()
		l.Manager.Http1SafeMaxConnectionDuration = true
		spec := &egv1a1.HTTP1Settings{DisableSafeMaxConnectionDuration: &disable}
		HTTP1{}.ApplyListener(l, model.Attached{Spec: spec})
		if got := l.Manager.GetHttp1SafeMaxConnectionDuration(); got != want {
			t.Errorf("with disableSafeMaxConnectionDuration %t it is %t", disable, got)
		}
	}
}

func TestDefaultHost(t *testing.T) {
	spec := &egv1a1.HTTP1Settings{HTTP10: &egv1a1.HTTP10Settings{UseDefaultHost: new(true)}}
	a, l := model.Attached{Spec: spec}, &model.Listener{Key: model.ListenerKey{Name: "http"}}
	featuretest.Expect(t, HTTP1{}.CheckListener(a, l, []string{"*.example.com"}), "Listener http has no hostname")
	featuretest.Expect(t, HTTP1{}.CheckListener(a, l, nil), "Listener http has no hostname")
	featuretest.Expect(t, HTTP1{}.CheckListener(a, l, []string{"*.example.com", "a.example.com"}), "")
	spec.HTTP10.UseDefaultHost = nil
	featuretest.Expect(t, HTTP1{}.CheckListener(a, l, nil), "")
}

// TestHTTP3: where QUIC would let in somebody whom TCP does not, or would not know who it is, there is none.
func TestHTTP3(t *testing.T) {
	field := func(name string, spec any) model.Attached {
		return model.Attached{Feature: "ClientTrafficPolicy." + name, Spec: spec, Path: "spec." + name}
	}
	http3 := field("http3", &egv1a1.HTTP3Settings{})
	version := func(v egv1a1.TLSVersion) model.Attached {
		return field("tls", &egv1a1.ClientTLSSettings{TLSSettings: egv1a1.TLSSettings{MaxVersion: &v}})
	}
	for _, tt := range []struct {
		beside model.Attached
		want   string
	}{
		{field("tls", &egv1a1.ClientTLSSettings{}), ""},
		{field("tls", &egv1a1.ClientTLSSettings{ClientValidation: &egv1a1.ClientValidationContext{}}), "for certificates"},
		{version(egv1a1.TLSAuto), ""},
		{version(egv1a1.TLSv13), ""},
		{version(egv1a1.TLSv12), "TLS 1.3 alone"},
		{field("proxyProtocol", &egv1a1.ProxyProtocolSettings{}), "no PROXY protocol"},
		{field("proxyProtocol", &egv1a1.ProxyProtocolSettings{Optional: new(true)}), ""},
		{field("enableProxyProtocol", new(true)), "no PROXY protocol"},
		{field("enableProxyProtocol", new(false)), ""},
	} {
		rule := &model.Rule{Attached: []model.Attached{http3, tt.beside}}
		featuretest.Expect(t, HTTP3{}.Check(http3, rule), tt.want)
	}
	featuretest.Expect(t, HTTP3{}.CheckListener(http3, &model.Listener{}, nil), "")
	asking := &model.Listener{Clients: &model.ClientValidation{}}
	featuretest.Expect(t, HTTP3{}.CheckListener(http3, asking, nil), "for certificates")
}

func TestCheck(t *testing.T) {
	match := egv1a1.StringMatch{Type: new(egv1a1.StringMatchRegularExpression), Value: "["}
	http1 := &egv1a1.HTTP1Settings{IgnoredUpgradeTypes: []egv1a1.StringMatch{match}}
	featuretest.Expect(t, HTTP1{}.Check(model.Attached{Spec: http1}, nil), "not valid RE2")
	http2 := &egv1a1.HTTP2Settings{MaxConcurrentStreams: new(uint32(0))}
	featuretest.Expect(t, HTTP2{}.Check(model.Attached{Spec: http2}, nil), "use 1 to")
	featuretest.Expect(t, Scheme{}.Check(model.Attached{Spec: new(egv1a1.SchemeHeaderTransform("Keep"))}, nil), "no way")
	for path, want := range map[string]string{"/ok": "", "ok": "is no path", "/a b": "is no path"} {
		spec := &egv1a1.HealthCheckSettings{Path: path}
		featuretest.Expect(t, HealthCheck{}.Check(model.Attached{Spec: spec}, nil), want)
	}
}
