package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the root of the repository.
const root = "../.."

// TestLicenses checks that everything that is linked into the program has a licence that is allowed. It reads go.mod,
// so that a cached result does not outlive a change of it.
func TestLicenses(t *testing.T) {
	if _, err := os.ReadFile(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	all, err := Licenses(root, "./cmd/sluice")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Errorf("only %d modules are found: %v", len(all), all)
	}
	for path, licenses := range all {
		if len(licenses) == 0 {
			t.Errorf("%s: no licence is found: look for one, or do without the module", path)
		}
		for _, id := range licenses {
			if !slices.Contains(Allowed, id) {
				t.Errorf("%s has the licence %s, which is not among those that are allowed", path, id)
			}
		}
	}
}

func TestIdentify(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n     Version 2.0, January 2004":                                                      "Apache-2.0",
		"Permission is hereby granted, free of charge,\nto any person obtaining a copy of\nthis software and": "MIT",
		"Redistribution and use in source and\nbinary forms, ... Neither the name of":                         "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with or without modification":                     "BSD-2-Clause",
		"Mozilla Public License Version 2.0":                                                                  "MPL-2.0",
		"GNU GENERAL PUBLIC LICENSE\nVersion 3":                                                               "GPL",
		"All rights reserved.":                                                                                "",
		"Licensed under the Apache License, Version 2.0. Permission to use, copy, modify, and distribute this software " +
			"for any purpose with or without fee": "Apache-2.0 ISC",
	} {
		if got := strings.Join(Identify(text), " "); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestWrite writes the bill of materials of this test.
func TestWrite(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	licenses := map[string][]string{"std": {"BSD-3-Clause"}}
	first, err := Write(binary, "v1.2.3", licenses)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Write(binary, "v1.2.3", licenses)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same binary gives other bytes: %v", err)
	}
	var got document
	if err := json.Unmarshal(first, &got); err != nil {
		t.Fatal(err)
	}
	program := got.Metadata.Component
	if got.Format != "CycloneDX" || program.PURL != "pkg:golang/github.com/sluice-gateway/sluice@v1.2.3" ||
		len(program.Hashes) != 1 || len(program.Hashes[0].Content) != 64 {
		t.Errorf("it is of %+v", program)
	}
	i := slices.IndexFunc(got.Components, func(c component) bool { return c.Name == "std" })
	if i < 0 || got.Components[i].Licenses[0].License.ID != "BSD-3-Clause" ||
		!strings.HasPrefix(got.Components[i].PURL, "pkg:golang/std@1.") {
		t.Errorf("the standard library is not among %+v", got.Components)
	}
	if len(got.Dependencies) != 1 || len(got.Dependencies[0].DependsOn) != len(got.Components) {
		t.Errorf("what it depends on is %+v", got.Dependencies)
	}
	if _, err := Write(filepath.Join(root, "go.mod"), "", nil); err == nil {
		t.Error("a file that is no program has a bill of materials")
	}
}
