package kube

import (
	"encoding/json"
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patched returns an object with the patch that an EnvoyProxy has for it. field is where in the EnvoyProxy.
func patched[T any](o *T, patch *egv1a1.KubernetesPatchSpec, field string) (*T, error) {
	if patch == nil {
		return o, nil
	}
	fail := func(err error) (*T, error) {
		return nil, fmt.Errorf("spec.provider.kubernetes.%s.patch: %w", field, err)
	}
	before, err := json.Marshal(o)
	if err != nil {
		return fail(err)
	}
	how := egv1a1.StrategicMerge
	if patch.Type != nil {
		how = *patch.Type
	}
	var after []byte
	switch how {
	case egv1a1.StrategicMerge:
		after, err = strategicpatch.StrategicMergePatch(before, patch.Value.Raw, *new(T))
	case egv1a1.JSONMerge:
		after, err = jsonpatch.MergePatch(before, patch.Value.Raw)
	default:
		err = fmt.Errorf("type %q is not known: use StrategicMerge or JSONMerge", how)
	}
	if err != nil {
		return fail(err)
	}
	out := new(T)
	if err := json.Unmarshal(after, out); err != nil {
		return fail(err)
	}
	return out, nil
}
