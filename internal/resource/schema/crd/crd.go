// Package crd reads the CustomResourceDefinitions that lie in the modules which go.mod names, for the generators of
// what Sluice ships of them: the schemas that files are checked against, and the Helm chart's CRDs.
package crd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Folder is a folder of manifests in a module.
type Folder struct {
	// Module is the path of the module, without a version: go.mod says which.
	Module string
	// Path is the folder in it.
	Path string
}

// The folders of CRDs that Sluice takes its APIs from.
var (
	// Standard is the standard channel of the Gateway API.
	Standard = Folder{"sigs.k8s.io/gateway-api", "config/crd/standard"}
	// Experimental is the experimental channel of the Gateway API, a superset of the standard one.
	Experimental = Folder{"sigs.k8s.io/gateway-api", "config/crd/experimental"}
	// EnvoyGateway are the policies of gateway.envoyproxy.io.
	EnvoyGateway = Folder{"github.com/envoyproxy/gateway", "charts/gateway-helm/charts/crds/crds/generated"}
)

// Documents returns the YAML documents of the folder's manifests, by the name of the file. It runs the go command.
func (f Folder) Documents() (map[string][][]byte, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", f.Module).Output()
	if err != nil {
		return nil, fmt.Errorf("find module %s: %w", f.Module, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), f.Path, "*.yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string][][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		docs, err := split(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out[filepath.Base(file)] = docs
	}
	return out, nil
}

func split(data []byte) ([][]byte, error) {
	var out [][]byte
	for reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data))); ; {
		doc := make([]byte, len(data)+1)
		n, err := reader.Read(doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, doc[:n])
	}
}

// Definitions returns the CRDs of the folder by their names, which are plural.group.
func (f Folder) Definitions() (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := f.Documents()
	if err != nil {
		return nil, err
	}
	out := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for file, docs := range files {
		for _, doc := range docs {
			crd := new(apiextensionsv1.CustomResourceDefinition)
			if err := yaml.Unmarshal(doc, crd); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if crd.Kind == "CustomResourceDefinition" {
				out[crd.Name] = crd
			}
		}
	}
	return out, nil
}

// Strip removes the descriptions of a schema and of everything in it.
func Strip(s *apiextensionsv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description = ""
	for name, prop := range s.Properties {
		Strip(&prop)
		s.Properties[name] = prop
	}
	if s.Items != nil {
		Strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		Strip(s.AdditionalProperties.Schema)
	}
	Strip(s.Not)
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			Strip(&list[i])
		}
	}
}
