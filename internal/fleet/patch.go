package fleet

import (
	"errors"
	"fmt"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/jsonpatch"
)

// Patch returns a bootstrap as an EnvoyProxy wants it (EnvoyProxySpec.bootstrap), in the form that Envoy reads. It
// returns an error if the patch cannot be applied, if what comes out is no bootstrap, or if the Envoy would no longer
// take its configuration from Sluice, over the same connection and under the same name.
func Patch(base *bootstrapv3.Bootstrap, patch *egv1a1.ProxyBootstrap) ([]byte, error) {
	raw, err := JSON(base)
	if err != nil || patch == nil {
		return raw, err
	}
	how := egv1a1.BootstrapTypeReplace
	if patch.Type != nil {
		how = *patch.Type
	}
	out := &bootstrapv3.Bootstrap{}
	switch how {
	case egv1a1.BootstrapTypeReplace:
		if err = fromYAML(patch.Value, out); err == nil {
			keepControlPlane(base, out)
		}
	case egv1a1.BootstrapTypeMerge:
		over := &bootstrapv3.Bootstrap{}
		err = fromYAML(patch.Value, over)
		out = proto.CloneOf(base)
		proto.Merge(out, over)
	case egv1a1.BootstrapTypeJSONPatch:
		raw, err = jsonPatch(raw, patch.JSONPatches)
		if err == nil {
			err = protojson.Unmarshal(raw, out)
		}
	default:
		err = fmt.Errorf("type %q is not known: use Replace, Merge or JSONPatch", how)
	}
	if err == nil {
		err = sameControlPlane(base, out)
	}
	if err != nil {
		return nil, fmt.Errorf("spec.bootstrap: %w", err)
	}
	return JSON(out)
}

func fromYAML(text *string, into *bootstrapv3.Bootstrap) error {
	if text == nil {
		return errors.New("the value is missing")
	}
	raw, err := yaml.YAMLToJSON([]byte(*text))
	if err != nil {
		return fmt.Errorf("the value is no YAML: %w", err)
	}
	if err := protojson.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the value is no bootstrap of Envoy: %w", err)
	}
	return nil
}

func jsonPatch(raw []byte, operations []egv1a1.JSONPatchOperation) ([]byte, error) {
	for i := range operations {
		patched, err := jsonpatch.Apply(raw, &operations[i])
		if err != nil {
			return nil, fmt.Errorf("jsonPatches[%d]: %w", i, err)
		}
		raw = patched
	}
	return raw, nil
}

// keepControlPlane adds what ties the Envoy to Sluice to a bootstrap that does not say it. Whoever writes a whole one
// need not know the paths of sockets, nor names that are made up at the start.
func keepControlPlane(base, out *bootstrapv3.Bootstrap) {
	if out.DynamicResources == nil {
		out.DynamicResources = base.DynamicResources
	}
	if out.Node == nil {
		out.Node = base.Node
	}
	if out.Admin == nil {
		out.Admin = base.Admin
	}
	if out.StaticResources == nil {
		out.StaticResources = &bootstrapv3.Bootstrap_StaticResources{}
	}
	static := out.StaticResources
	static.Listeners = withMissing(static.Listeners, base.GetStaticResources().GetListeners())
	static.Clusters = withMissing(static.Clusters, base.GetStaticResources().GetClusters())
}

// withMissing returns a list with those of another whose names it lacks.
func withMissing[M interface{ GetName() string }](list, own []M) []M {
	for _, m := range own {
		if !slices.ContainsFunc(list, func(have M) bool { return have.GetName() == m.GetName() }) {
			list = append(list, m)
		}
	}
	return list
}

// sameControlPlane keeps what ties the Envoy to Sluice: where its configuration comes from, and its name there.
func sameControlPlane(base, out *bootstrapv3.Bootstrap) error {
	if !proto.Equal(base.DynamicResources, out.DynamicResources) {
		return errors.New("dynamic_resources must stay as they are: Sluice configures the Envoy through them")
	}
	if !proto.Equal(base.Node, out.Node) {
		return errors.New("node must stay as it is: Sluice knows the Envoy by it")
	}
	if !proto.Equal(base.Admin, out.Admin) {
		return errors.New("admin must stay as it is: nobody else may reach the admin interface")
	}
	for _, listener := range base.StaticResources.Listeners {
		if !contains(out.GetStaticResources().GetListeners(), listener) {
			return fmt.Errorf("the static listener %s must stay as it is", listener.Name)
		}
	}
	for _, cluster := range base.StaticResources.Clusters {
		if !contains(out.GetStaticResources().GetClusters(), cluster) {
			return fmt.Errorf("the static cluster %s must stay as it is", cluster.Name)
		}
	}
	return nil
}

func contains[M proto.Message](list []M, wanted M) bool {
	for _, m := range list {
		if proto.Equal(m, wanted) {
			return true
		}
	}
	return false
}
