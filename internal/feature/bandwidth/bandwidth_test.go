package bandwidth

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.BandwidthLimitSpec](t, Feature{}) }

func TestCheck(t *testing.T) {
	request := func(size string, unit egv1a1.BandwidthLimitUnit) egv1a1.BandwidthLimitSpec {
		return egv1a1.BandwidthLimitSpec{Request: &egv1a1.BandwidthLimitRequestConfig{
			Limit: egv1a1.BandwidthLimitValue{Value: resource.MustParse(size), Unit: unit},
		}}
	}
	prefixed := func(prefix string) egv1a1.BandwidthLimitSpec {
		return egv1a1.BandwidthLimitSpec{Response: &egv1a1.BandwidthLimitResponseConfig{
			Limit:            request("1Mi", "Second").Request.Limit,
			ResponseTrailers: &egv1a1.BandwidthLimitResponseTrailers{Prefix: &prefix},
		}}
	}
	for _, tt := range []struct {
		spec egv1a1.BandwidthLimitSpec
		want string
	}{
		{egv1a1.BandwidthLimitSpec{}, "Nothing is limited"},
		{request("1Ki", "Second"), ""},
		{request("1023", "Second"), "use at least 1024"},
		{request("1Ki", "Minute"), "1Ki a minute is less than 1 KiB a second: use at least 61440"},
		{request("1Mi", "Day"), `no unit "Day"`},
		{prefixed(""), ""},
		{prefixed("x-shop"), ""},
		{prefixed("x shop"), "Invalid prefix"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, nil), tt.want)
	}
}
