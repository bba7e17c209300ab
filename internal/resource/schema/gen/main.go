// Command gen writes the schemas of all kinds that have a CRD into the schema folder, from the CRDs in the modules that
// go.mod names. It runs in the schema folder, by go generate.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/resource/schema"
)

// sources are the folders of CRDs, by module. Of the Gateway API it is the experimental channel: a superset of the
// standard one, because what is experimental is accepted where it is implemented.
var sources = []struct{ module, folder string }{
	{"sigs.k8s.io/gateway-api", "config/crd/experimental"},
	{"github.com/envoyproxy/gateway", "charts/gateway-helm/charts/crds/crds/generated"},
}

func main() {
	log.SetFlags(0)
	if err := run("."); err != nil {
		log.Fatal("schema: ", err)
	}
}

func run(out string) error {
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, src := range sources {
		dir, err := moduleDir(src.module)
		if err != nil {
			return err
		}
		if err := readFolder(filepath.Join(dir, src.folder), crds); err != nil {
			return err
		}
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

func moduleDir(module string) (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return strings.TrimSpace(string(dir)), nil
}

func readFolder(dir string, into map[string]*apiextensionsv1.CustomResourceDefinition) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			crd := new(apiextensionsv1.CustomResourceDefinition)
			if err := dec.Decode(crd); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if crd.Kind == "CustomResourceDefinition" {
				into[crd.Name] = crd
			}
		}
	}
	return nil
}

func write(out string, k *resource.Kind, crd *apiextensionsv1.CustomResourceDefinition) error {
	if crd == nil {
		return fmt.Errorf("no CRD for %s.%s in the modules", k.Plural, k.Group)
	}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Name != k.Version || !v.Served {
			continue
		}
		root := v.Schema.OpenAPIV3Schema
		delete(root.Properties, "status")
		strip(root)
		data, err := json.Marshal(root)
		if err != nil {
			return err
		}
		file := filepath.Join(out, schema.File(k.Group, k.Plural, k.Version))
		return os.WriteFile(file, append(data, '\n'), 0o644) //nolint:gosec // a source file
	}
	return fmt.Errorf("the CRD of %s.%s does not serve version %s", k.Plural, k.Group, k.Version)
}

// strip removes the descriptions of a schema and of everything in it.
func strip(s *apiextensionsv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description = ""
	for name, prop := range s.Properties {
		strip(&prop)
		s.Properties[name] = prop
	}
	if s.Items != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		strip(s.AdditionalProperties.Schema)
	}
	strip(s.Not)
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			strip(&list[i])
		}
	}
}
