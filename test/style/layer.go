package style

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// order is the layout: a package imports only from those before its own. The server comes before envoy, because what
// envoy makes is resources as the server defines them.
var order = []string{
	"child", "disk", "keeper", "model", "jsonpatch", "status", "incr", "pki", "resource", "envoygateway", "source", "jwks",
	"fetch", "extension",
	"resolve", "ratelimit", "feature", "xds", "envoy", "fleet", "ops", "peer", "pipeline",
}

// known says of the layers that touch the world which ones besides cmd may know them.
var known = map[string][]string{
	"xds":   {"envoy", "ops", "pipeline"},
	"fleet": {"pipeline"},
}

// imported calls f for every import of the files written by hand.
func (t *Tree) imported(f func(file *File, line int, pkg string)) {
	t.written(func(file *File) {
		for _, spec := range file.AST.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil { // the parser has checked it
				continue
			}
			f(file, file.Line(spec.Pos()), pkg)
		}
	})
}

// below returns the path below internal/ of a folder.
func below(dir string) (string, bool) { return strings.CutPrefix(dir, "internal/") }

// internal returns the path below internal/ of a package of the module.
func (t *Tree) internal(pkg string) (string, bool) {
	return strings.CutPrefix(pkg, t.Module+"/internal/")
}

// layer is the first folder of a path.
func layer(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func layers(t *Tree) []Finding {
	var out []Finding
	t.imported(func(f *File, line int, pkg string) {
		from, ok := below(f.Dir())
		to, internal := t.internal(pkg)
		if !ok || !internal || f.Test || isTestPackage(f.Dir()) {
			return
		}
		if why := refused(layer(from), layer(to)); why != "" {
			out = append(out, Finding{Path: f.Path, Line: line, Subject: to, Message: why})
		}
	})
	return out
}

// refused says why one layer may not import another, or nothing.
func refused(from, to string) string {
	rank, imported := slices.Index(order, from), slices.Index(order, to)
	switch {
	case from == to:
		return ""
	case rank < 0:
		return fmt.Sprintf("internal/%s has no place in the order of layers (test/style/layer.go)", from)
	case imported < 0:
		return fmt.Sprintf("internal/%s has no place in the order of layers (test/style/layer.go)", to)
	case imported > rank:
		return fmt.Sprintf("internal/%s comes before internal/%s and may not import it", from, to)
	case from == "xds" && to != "model":
		return fmt.Sprintf("internal/xds knows resources, not what they are made of: it may not import internal/%s", to)
	case known[to] != nil && !slices.Contains(known[to], from):
		return fmt.Sprintf("internal/%s is for %v and cmd, not for internal/%s", to, known[to], from)
	}
	return ""
}

// featuresApart keeps features from knowing one another, and all others from knowing a single one. What features have
// in common (durations, header names) is a folder among them that is none itself.
func featuresApart(t *Tree) []Finding {
	isFeature := t.features()
	var out []Finding
	t.imported(func(f *File, line int, pkg string) {
		to, ok := t.internal(pkg)
		name, inFeature := strings.CutPrefix(to, "feature/")
		if !ok || !inFeature || f.Test || isTestPackage(f.Dir()) {
			return
		}
		from, _ := below(f.Dir())
		own, inside := strings.CutPrefix(from, "feature/")
		if inside && (layer(own) == layer(name) || own == "all" || !isFeature[layer(name)]) || !inside && name == "all" {
			return
		}
		out = append(out, Finding{
			Path: f.Path, Line: line, Subject: to,
			Message: fmt.Sprintf("internal/feature/%s is known to internal/feature/all alone", name),
		})
	})
	return out
}

// features are the folders below internal/feature that implement a feature: a type with a method Name() string.
func (t *Tree) features() map[string]bool {
	out := map[string]bool{}
	t.functions(func(f *File, fn *ast.FuncDecl) {
		dir, ok := strings.CutPrefix(f.Dir(), "internal/feature/")
		if ok && !f.Test && fn.Recv != nil && fn.Name.Name == "Name" && fn.Type.Params.NumFields() == 0 {
			out[layer(dir)] = true
		}
	})
	return out
}

// isTestPackage reports whether a package is there for tests: its name ends in test or testkit.
func isTestPackage(pkg string) bool {
	base := path.Base(pkg)
	return strings.HasSuffix(base, "test") || strings.HasSuffix(base, "testkit")
}

// testOnly keeps packages for tests out of the program.
func testOnly(t *Tree) []Finding {
	var out []Finding
	t.imported(func(f *File, line int, pkg string) {
		program := !f.Test && !isTestPackage(f.Dir()) && !strings.HasPrefix(f.Dir()+"/", "test/")
		if strings.HasPrefix(pkg, t.Module) && isTestPackage(pkg) && program || program && pkg == "testing" {
			out = append(out, Finding{
				Path: f.Path, Line: line, Subject: pkg, Message: fmt.Sprintf("%s is for tests only", pkg),
			})
		}
	})
	return out
}

// foreign is what a layer may not know of the world outside the module: a prefix of import paths, and why.
type foreign struct {
	layer, prefix, why string
}

var foreigners = []foreign{
	{"model", "k8s.io/", "the model knows no Kubernetes"},
	{"model", "sigs.k8s.io/", "the model knows no Kubernetes"},
	{"model", "github.com/envoyproxy/", "the model knows no Envoy"},
	{"incr", "k8s.io/", "the engine knows nothing but keys and values"},
	{"incr", "github.com/", "the engine knows nothing but keys and values"},
	{"resolve", "github.com/envoyproxy/go-control-plane", "resolving ends in the model; internal/envoy makes protos"},
	{"xds", "k8s.io/", "the server knows resources, not objects"},
	{"xds", "sigs.k8s.io/", "the server knows resources, not objects"},
	{"model", "context", "a stage is a pure function"},
	{"resolve", "context", "a stage is a pure function"},
	{"envoy", "context", "a stage is a pure function"},
	{"feature", "context", "a stage is a pure function"},
	{"resolve", "log", "a stage returns what it found as a status.Report"},
	{"envoy", "log", "a stage returns what it found as a status.Report"},
	{"feature", "log", "a stage returns what it found as a status.Report"},
	{"resolve", "os", "a stage does no I/O"},
	{"envoy", "os", "a stage does no I/O"},
	{"feature", "os", "a stage does no I/O"},
}

func foreignImports(t *Tree) []Finding {
	var out []Finding
	t.imported(func(f *File, line int, pkg string) {
		from, ok := below(f.Dir())
		if !ok || f.Test || isTestPackage(f.Dir()) {
			return
		}
		for _, rule := range foreigners {
			if layer(from) == rule.layer && matches(pkg, rule.prefix) {
				out = append(out, Finding{
					Path: f.Path, Line: line, Subject: pkg, Message: fmt.Sprintf("%s is imported, but %s", pkg, rule.why),
				})
				break
			}
		}
	})
	return out
}

// matches reports whether a package is the one that prefix names, or below it.
func matches(pkg, prefix string) bool {
	return pkg == prefix || strings.HasPrefix(pkg, strings.TrimSuffix(prefix, "/")+"/")
}
