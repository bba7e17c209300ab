package admission

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.AdmissionControl](t, Feature{}) }

func TestCheck(t *testing.T) {
	criteria := func(http []egv1a1.HTTPStatus, grpc []egv1a1.GRPCSuccessCode) egv1a1.AdmissionControl {
		return egv1a1.AdmissionControl{SuccessCriteria: &egv1a1.AdmissionControlSuccessCriteria{
			HTTP: &egv1a1.HTTPSuccessCriteria{StatusCodes: http}, GRPC: &egv1a1.GRPCSuccessCriteria{StatusCodes: grpc},
		}}
	}
	for _, tt := range []struct {
		spec egv1a1.AdmissionControl
		want string
	}{
		{egv1a1.AdmissionControl{}, ""},
		{egv1a1.AdmissionControl{SamplingWindow: new(gwv1.Duration("999ms"))}, "at least 1s"},
		{egv1a1.AdmissionControl{SamplingWindow: new(gwv1.Duration("1500ms"))}, "use 1s, for example"},
		{egv1a1.AdmissionControl{MinSuccessRate: new(uint32(0))}, "use 1 to 100"},
		{egv1a1.AdmissionControl{MinSuccessRate: new(uint32(101))}, "use 1 to 100"},
		{egv1a1.AdmissionControl{RejectionAggression: new(uint32(0))}, "use 1 or more"},
		{egv1a1.AdmissionControl{MaxRejectionPercent: new(uint32(101))}, "use 0 to 100"},
		{criteria([]egv1a1.HTTPStatus{200}, []egv1a1.GRPCSuccessCode{"Ok"}), ""},
		{criteria([]egv1a1.HTTPStatus{99}, nil), "99 is not a status code"},
		{criteria(nil, []egv1a1.GRPCSuccessCode{"OK"}), `no status "OK"`},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, nil), tt.want)
	}
}

// TestStatuses says that the statuses of gRPC are at their numbers.
func TestStatuses(t *testing.T) {
	for number, name := range map[int]egv1a1.GRPCSuccessCode{
		0: "Ok", 5: "NotFound", 8: "ResourceExhausted", 14: "Unavailable", 16: "Unauthenticated",
	} {
		if statuses[number] != name {
			t.Errorf("status %d is %s, want %s", number, statuses[number], name)
		}
	}
}
