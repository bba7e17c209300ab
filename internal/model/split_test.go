package model_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// A split is the same whatever order its backends are written in, and says what it is made of.
func TestSplit(t *testing.T) {
	service := model.BackendKey{Kind: model.KindService, Name: model.Name{Namespace: "a-b", Name: "c"}, Port: 80}
	grpc := model.BackendKey{
		Kind: model.KindService, Name: model.Name{Namespace: "a-b", Name: "c"}, Port: 81, Use: model.AppGRPC,
	}
	backend := model.BackendKey{Kind: model.KindBackend, Name: model.Name{Namespace: "a", Name: "b-c.d"}}
	parts := []model.WeightedBackend{
		{Backend: backend, Weight: 1}, {Backend: service, Weight: 90, Fallback: true}, {Backend: grpc, Weight: 10},
	}
	key := model.Split(parts)
	if diff := cmp.Diff(parts, key.Parts()); diff != "" {
		t.Error(diff)
	}
	if other := model.Split([]model.WeightedBackend{parts[2], parts[0], parts[1]}); other != key {
		t.Errorf("in another order it is %v, not %v", other, key)
	}
	if got, want := key.String(), "split/backend/a/b-c.d=1,service/a-b/c/80=90!,service/a-b/c/81~grpc=10"; got != want {
		t.Errorf("the cluster is named %s, want %s", got, want)
	}
	long := model.Split(append(parts, model.WeightedBackend{
		Backend: model.BackendKey{Kind: model.KindBackend, Name: model.Name{Namespace: "a", Name: strings.Repeat("x", 200)}},
		Weight:  1,
	}))
	if len(long.String()) > 50 || len(long.Parts()) != 4 {
		t.Errorf("a long one is named %s and has %d parts", long, len(long.Parts()))
	}
	if service.Parts() != nil {
		t.Error("a Service has parts")
	}
}
