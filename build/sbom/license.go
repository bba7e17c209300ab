package sbom

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Allowed are the SPDX identifiers of the licences that modules of the program may have: all let it be given away under
// its own, as long as they go with it.
var Allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// partly are modules that have a licence which is not allowed for some of their packages, and the path under which
// these are. None of them may be linked.
var partly = map[string]struct{ id, packages string }{
	"github.com/cyphar/filepath-securejoin": {"MPL-2.0", "github.com/cyphar/filepath-securejoin/pathrs-lite"},
}

// marks are texts that only one licence has, white space and upper case set aside.
var marks = []struct{ id, text string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"Apache-2.0", "licensed under the apache license, version 2.0"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	{"ISC", "permission to use, copy, modify, and distribute this software for any purpose with or without fee"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"GPL", "gnu general public license version"},
	{"LGPL", "gnu lesser general public license version"},
	{"AGPL", "gnu affero general public license version"},
	{"SSPL", "server side public license"},
	{"BUSL", "business source license"},
}

var (
	licenseFile = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicense)([-._].*)?$`)
	space       = regexp.MustCompile(`[\s,]+`)
)

// Identify returns the SPDX identifiers of the licences in a text, sorted; none if there is none that it knows.
func Identify(text string) []string {
	plain := func(s string) string { return space.ReplaceAllString(strings.ToLower(s), " ") }
	text = plain(text)
	var out []string
	for _, m := range marks {
		if strings.Contains(text, plain(m.text)) {
			out = append(out, m.id)
		}
	}
	// The MPL names those that it may be combined with.
	if slices.Contains(out, "MPL-2.0") {
		out = slices.DeleteFunc(out, func(id string) bool { return strings.HasSuffix(id, "GPL") })
	}
	if strings.Contains(text, "redistribution and use in source and binary forms") {
		if strings.Contains(text, "neither the name") {
			out = append(out, "BSD-3-Clause")
		} else {
			out = append(out, "BSD-2-Clause")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Licenses returns the licences of the modules that packages of the module in a folder are built from, by their paths,
// and of the standard library as "std". A module whose licence is not found has none. A licence that is for packages
// which are not linked is left out. It returns an error if the go command cannot tell what the modules are.
func Licenses(dir string, packages ...string) (map[string][]string, error) {
	cmd := exec.Command("go", append([]string{
		"list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}\t{{$.ImportPath}}{{end}}",
	}, packages...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the modules of %s: %w", strings.Join(packages, " "), err)
	}
	out := map[string][]string{"std": {"BSD-3-Clause"}}
	used := map[string]bool{} // the modules of which packages with another licence are linked
	for line := range strings.Lines(string(list)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 3 {
			continue // of the standard library
		}
		path, folder := fields[0], fields[1]
		if other := partly[path]; other.id != "" && strings.HasPrefix(fields[2]+"/", other.packages+"/") {
			used[path] = true
		}
		if _, known := out[path]; known {
			continue
		}
		if out[path], err = licensesIn(folder); err != nil {
			return nil, fmt.Errorf("look for the licence of %s: %w", path, err)
		}
	}
	for path, other := range partly {
		if all, linked := out[path]; linked && !used[path] {
			out[path] = slices.DeleteFunc(all, func(id string) bool { return id == other.id })
		}
	}
	return out, nil
}

// licensesIn returns what the files for it at the top of a module say.
func licensesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() || !licenseFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, Identify(string(text))...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
