// Package schema holds the OpenAPI v3 schemas, CEL rules included, of the custom resources that Sluice reads.
//
// The files are generated from the CRDs of the modules whose Go types Sluice uses, so that schema and type cannot
// drift apart. Descriptions and the status are left out: nothing here is shown to users, and files have no status.
package schema

import (
	"embed"
	"fmt"
)

//go:generate go run ./gen

//go:embed *.json
var files embed.FS

// File returns the name of the file that holds the schema of a kind, for example
// "gateway.networking.k8s.io_httproutes_v1.json".
func File(group, plural, version string) string {
	return group + "_" + plural + "_" + version + ".json"
}

// Of returns the schema of a kind as the JSON of an apiextensions.k8s.io/v1 JSONSchemaProps. It fails for a kind that
// none was generated for.
func Of(group, plural, version string) ([]byte, error) {
	data, err := files.ReadFile(File(group, plural, version))
	if err != nil {
		return nil, fmt.Errorf("no schema for %s.%s/%s, run go generate ./internal/resource/schema: %w",
			plural, group, version, err)
	}
	return data, nil
}
