// Command gen writes the schemas of all kinds that have a CRD into the schema folder, from the CRDs in the modules that
// go.mod names. It runs in the schema folder, by go generate.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/resource/schema"
	"github.com/sluice-gateway/sluice/internal/resource/schema/crd"
)

func main() {
	log.SetFlags(0)
	if err := run("."); err != nil {
		log.Fatal("schema: ", err)
	}
}

func run(out string) error {
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	// The experimental channel, because what is experimental is accepted where it is implemented.
	for _, folder := range []crd.Folder{crd.Experimental, crd.EnvoyGateway} {
		found, err := folder.Definitions()
		if err != nil {
			return err
		}
		maps.Copy(crds, found)
	}
	for i := range resource.Kinds {
		k := &resource.Kinds[i]
		if k.Builtin {
			continue
		}
		if err := write(out, k, crds[k.Plural+"."+k.Group]); err != nil {
			return err
		}
	}
	return nil
}

func write(out string, k *resource.Kind, definition *apiextensionsv1.CustomResourceDefinition) error {
	if definition == nil {
		return fmt.Errorf("no CRD for %s.%s in the modules", k.Plural, k.Group)
	}
	for i := range definition.Spec.Versions {
		v := &definition.Spec.Versions[i]
		if v.Name != k.Version || !v.Served {
			continue
		}
		root := v.Schema.OpenAPIV3Schema
		delete(root.Properties, "status")
		crd.Strip(root)
		data, err := json.Marshal(root)
		if err != nil {
			return err
		}
		file := filepath.Join(out, schema.File(k.Group, k.Plural, k.Version))
		return os.WriteFile(file, append(data, '\n'), 0o644) //nolint:gosec // a source file
	}
	return fmt.Errorf("the CRD of %s.%s does not serve version %s", k.Plural, k.Group, k.Version)
}
