// Package sbom writes down what the program is made of: a software bill of materials in the format of CycloneDX 1.6. It
// is read from the binary itself, so it has what is linked and nothing else, and the same binary gives the same bytes.
package sbom

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// Module is a Go module that is linked into a binary.
type Module struct {
	// Path and Version are as go.mod has them; the standard library is "std" with the version of Go, without "go".
	Path, Version string
	// Sum is what go.sum has, "h1:..." (golang.org/ref/mod#go-sum-files); empty for the standard library.
	Sum string
}

// Linked returns the modules that a binary is made of, sorted by path, and its main module. It returns an error if the
// file is not a Go binary.
func Linked(binary string) (all []Module, program Module, err error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, Module{}, fmt.Errorf("read what %s is made of: %w", binary, err)
	}
	all = []Module{{Path: "std", Version: strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, moduleOf(m))
	}
	slices.SortFunc(all, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return all, moduleOf(&info.Main), nil
}

func moduleOf(m *debug.Module) Module { return Module{Path: m.Path, Version: m.Version, Sum: m.Sum} }

// The parts of CycloneDX 1.6 that are used: https://cyclonedx.org/docs/1.6/json/.
type (
	document struct {
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version,omitempty"`
		Hashes     []checksum `json:"hashes,omitempty"`
		Licenses   []choice   `json:"licenses,omitempty"`
		PURL       string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	choice struct {
		License license `json:"license"`
	}
	license struct {
		ID string `json:"id"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// Write returns the bill of materials of a binary of a version of the program. licenses are the SPDX identifiers of the
// licences of modules by their paths, as [Licenses] finds them. It returns an error if the binary cannot be read.
func Write(binary, version string, licenses map[string][]string) ([]byte, error) {
	modules, program, err := Linked(binary)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("hash %s: %w", binary, err)
	}
	program.Version = version
	root := componentOf(program, licenses)
	root.Type = "application"
	sum := sha256.Sum256(content)
	root.Hashes = []checksum{{Algorithm: "SHA-256", Content: hex.EncodeToString(sum[:])}}
	out := document{Format: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{Component: root}}
	needs := dependency{Ref: root.Ref}
	for _, m := range modules {
		c := componentOf(m, licenses)
		out.Components = append(out.Components, c)
		needs.DependsOn = append(needs.DependsOn, c.Ref)
	}
	out.Dependencies = []dependency{needs}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	return text.Bytes(), nil
}

func componentOf(m Module, licenses map[string][]string) component {
	purl := "pkg:golang/" + m.Path
	if m.Version != "" {
		purl += "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	}
	out := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
	for _, id := range licenses[m.Path] {
		out.Licenses = append(out.Licenses, choice{license{id}})
	}
	if m.Sum != "" {
		out.Properties = []property{{Name: "go.sum", Value: m.Sum}}
	}
	return out
}
