package policy

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// TestChangeHTTP says that a cluster keeps its version of HTTP and what was changed before.
func TestChangeHTTP(t *testing.T) {
	before := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		},
	}
	for version, c := range map[string]*clusterv3.Cluster{
		"HTTP/1.1": {},
		"HTTP/2":   {TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptions: feature.Pack(before)}},
	} {
		cluster := &feature.Cluster{Proto: c}
		ChangeHTTP(cluster, func(o *corev3.HttpProtocolOptions) { o.IdleTimeout = durationpb.New(time.Second) })
		ChangeHTTP(cluster, func(o *corev3.HttpProtocolOptions) { o.MaxRequestsPerConnection = wrapperspb.UInt32(7) })
		got := &httpv3.HttpProtocolOptions{}
		if err := c.GetTypedExtensionProtocolOptions()[httpOptions].UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		common := got.GetCommonHttpProtocolOptions()
		if common.GetIdleTimeout().AsDuration() != time.Second || common.GetMaxRequestsPerConnection().GetValue() != 7 {
			t.Errorf("%s: got %v, want both changes", version, common)
		}
		explicit := got.GetExplicitHttpConfig()
		if http2 := explicit.GetHttp2ProtocolOptions() != nil; http2 != (version == "HTTP/2") ||
			http2 == (explicit.GetHttpProtocolOptions() != nil) {
			t.Errorf("got %v, want %s", explicit, version)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[gwv1.Duration]string{
		"1s": "", "2m": "", "500ms": "at least 1s", "soon": "not a duration",
	} {
		var refused Refusals
		d := refused.Duration(".a", &text, time.Second)
		featuretest.Expect(t, refused, want)
		if (d == 0) != (want != "") || want == "" && Duration(&text).AsDuration() != d {
			t.Errorf("%s is %v", text, d)
		}
	}
	var refused Refusals
	if refused.Duration(".a", nil, time.Second) != 0 || Duration(nil) != nil || len(refused) > 0 {
		t.Error("a duration that is left out is refused, or is one")
	}
}

func TestInline(t *testing.T) {
	for path, want := range map[string]bool{
		"spec.retry": false, "spec.extAuth.http.backendSettings.retry": true,
	} {
		if Inline(model.Attached{Path: path}) != want {
			t.Errorf("%s: inline is %v", path, !want)
		}
	}
}

// TestBytes says which sizes Envoy can have, and that one that is left out is none.
func TestBytes(t *testing.T) {
	for text, want := range map[string]string{
		"30": "", "1Ki": "", "29": "use whole bytes, 30 to 1024", "1025": "out of range", "30500m": "whole bytes",
	} {
		var refused Refusals
		size := resource.MustParse(text)
		refused.Bytes(".a", &size, 30, 1024)
		featuretest.Expect(t, refused, want)
	}
	size := resource.MustParse("2Ki")
	if got := Bytes(&size).GetValue(); got != 2048 || Bytes(nil) != nil {
		t.Errorf("2Ki is %d bytes", got)
	}
}
