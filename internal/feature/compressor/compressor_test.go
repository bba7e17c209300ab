package compressor

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	for _, f := range []interface{ Name() string }{Feature{}, Older{}} {
		featuretest.GoldenIn[[]*egv1a1.Compression](t, f, "testdata/"+f.Name())
	}
}

func TestCheck(t *testing.T) {
	long := func(size string) *egv1a1.Compression {
		q := resource.MustParse(size)
		return &egv1a1.Compression{Type: "Gzip", MinContentLength: &q}
	}
	for _, tt := range []struct {
		spec []*egv1a1.Compression
		want string
	}{
		{nil, ""},
		{[]*egv1a1.Compression{{Type: "Gzip"}, {Type: "Zstd"}}, ""},
		{[]*egv1a1.Compression{{Type: "Zip"}}, `no type "Zip"`},
		{[]*egv1a1.Compression{{Type: "Gzip"}, {Type: "Gzip"}}, "more than once"},
		{[]*egv1a1.Compression{{Type: "Gzip", Brotli: &egv1a1.BrotliCompressor{}}}, "The type is Gzip: remove this field"},
		{[]*egv1a1.Compression{long("30")}, ""},
		{[]*egv1a1.Compression{long("29")}, "use whole bytes, 30 to"},
		{[]*egv1a1.Compression{long("4Gi")}, "out of range"},
	} {
		a := model.Attached{Feature: name, Spec: tt.spec}
		featuretest.Expect(t, Feature{}.Check(a, &model.Rule{Attached: []model.Attached{a}}), tt.want)
	}
}

// TestNewerFieldWins says what becomes of the older name of the field in a policy that is merged with one that has the
// newer.
func TestNewerFieldWins(t *testing.T) {
	older := model.Attached{Feature: Older{}.Name(), Spec: []*egv1a1.Compression{{Type: "Gzip"}}}
	newer := model.Attached{
		Feature: name, Spec: []*egv1a1.Compression{{Type: "Zstd"}},
		Source: model.Ref{Kind: model.KindBackendTrafficPolicy, Name: model.Name{Namespace: "default", Name: "shop"}},
	}
	featuretest.Expect(t, Older{}.Check(older, &model.Rule{Attached: []model.Attached{older}}), "")
	both := &model.Rule{Attached: []model.Attached{older, newer}}
	featuretest.Expect(t, Older{}.Check(older, both), "BackendTrafficPolicy/default/shop takes the place of this one")
	featuretest.Expect(t, Feature{}.Check(newer, both), "")
}
