package perroute

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestSetReplaces(t *testing.T) {
	route := &routev3.Route{}
	for _, seconds := range []int64{1, 2} {
		Set(route, "filter", &durationpb.Duration{Seconds: seconds})
	}
	got := &durationpb.Duration{}
	if err := route.GetTypedPerFilterConfig()["filter"].UnmarshalTo(got); err != nil || got.GetSeconds() != 2 {
		t.Errorf("got %v, %v; want the second configuration", got, err)
	}
}
