package fault

import (
	"math"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.FaultInjection](t, Feature{}) }

func TestCheck(t *testing.T) {
	abort := func(a egv1a1.FaultInjectionAbort) egv1a1.FaultInjection { return egv1a1.FaultInjection{Abort: &a} }
	delay := func(d egv1a1.FaultInjectionDelay) egv1a1.FaultInjection { return egv1a1.FaultInjection{Delay: &d} }
	second := new(gwv1.Duration("1s"))
	for _, tt := range []struct {
		spec egv1a1.FaultInjection
		want string
	}{
		{egv1a1.FaultInjection{}, ""},
		{delay(egv1a1.FaultInjectionDelay{FixedDelay: second, Percentage: new(float32(0))}), ""},
		{delay(egv1a1.FaultInjectionDelay{FixedDelay: second, Percentage: new(float32(100.5))}), "use 0 to 100"},
		{delay(egv1a1.FaultInjectionDelay{FixedDelay: second, Percentage: new(float32(math.NaN()))}), "use 0 to 100"},
		{delay(egv1a1.FaultInjectionDelay{FixedDelay: new(gwv1.Duration("0s"))}), "at least 1ms"},
		{delay(egv1a1.FaultInjectionDelay{}), "The delay is missing"},
		{abort(egv1a1.FaultInjectionAbort{HTTPStatus: new(int32(200))}), ""},
		{abort(egv1a1.FaultInjectionAbort{HTTPStatus: new(int32(600))}), "use 200 to 599"},
		{abort(egv1a1.FaultInjectionAbort{GrpcStatus: new(int32(17))}), "use 0 to 16"},
		{abort(egv1a1.FaultInjectionAbort{}), "either httpStatus or grpcStatus"},
		{abort(egv1a1.FaultInjectionAbort{HTTPStatus: new(int32(503)), GrpcStatus: new(int32(1))}), "write one of them"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, nil), tt.want)
	}
}
