package style

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// vague names say where code was put, not what it is about.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "lib"}

var (
	packagePattern = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	filePattern    = regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*\.go$`)
)

// packageName covers the name in the package clause and the folders on the way to it.
func packageName(t *Tree) []Finding {
	var out []Finding
	t.written(func(f *File) {
		name := strings.TrimSuffix(f.AST.Name.Name, "_test")
		if !packagePattern.MatchString(name) {
			out = append(out, Finding{
				Path: f.Path, Line: f.Line(f.AST.Name.Pos()), Subject: name,
				Message: fmt.Sprintf("package %s: package names are lower case words without separators", name),
			})
		}
		for _, part := range append(strings.Split(f.Dir(), "/"), name) {
			if slices.Contains(vague, part) {
				out = append(out, Finding{
					Path: f.Path, Line: f.Line(f.AST.Name.Pos()), Subject: part,
					Message: fmt.Sprintf("%s says nothing: name the package after its subject", part),
				})
				break
			}
		}
	})
	return out
}

func fileName(t *Tree) []Finding {
	var out []Finding
	t.written(func(f *File) {
		base := path.Base(f.Path)
		stem := strings.TrimSuffix(strings.TrimSuffix(base, ".go"), "_test")
		switch {
		case !filePattern.MatchString(base):
			out = append(out, Finding{Path: f.Path, Message: "file names are lower case, words joined by underscores"})
		case slices.Contains(vague, stem):
			out = append(out, Finding{Path: f.Path, Message: fmt.Sprintf("%s says nothing: name the file's subject", stem)})
		}
	})
	return out
}

// packageComment wants one comment for every package, in one of its files that is not a test; packages of tests alone
// need none.
func packageComment(t *Tree) []Finding {
	first, documented := map[string]*File{}, map[string]bool{}
	t.written(func(f *File) {
		if f.Test {
			return
		}
		if first[f.Dir()] == nil {
			first[f.Dir()] = f
		}
		if doc := f.AST.Doc.Text(); strings.HasPrefix(doc, "Package "+f.AST.Name.Name+" ") ||
			f.AST.Name.Name == "main" && strings.HasPrefix(doc, "Command ") {
			documented[f.Dir()] = true
		}
	})
	var out []Finding
	t.written(func(f *File) {
		if first[f.Dir()] == f && !documented[f.Dir()] {
			out = append(out, Finding{
				Path: f.Path, Line: 1,
				Message: fmt.Sprintf("package %s has no comment that starts with %q (a command: with \"Command \")",
					f.AST.Name.Name, "Package "+f.AST.Name.Name),
			})
		}
	})
	return out
}

// docComment wants a comment on everything that other packages can name. A group of constants or variables needs one
// for the group or one for each.
func docComment(t *Tree) []Finding {
	var out []Finding
	t.written(func(f *File) {
		if f.Test || f.AST.Name.Name == "main" {
			return
		}
		for _, decl := range f.AST.Decls {
			for _, id := range undocumented(decl) {
				out = append(out, Finding{
					Path: f.Path, Line: f.Line(id.Pos()), Subject: id.Name,
					Message: fmt.Sprintf("%s is exported and has no comment that says what it is", id.Name),
				})
			}
		}
	})
	return out
}

func undocumented(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		exported := d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)))
		if exported && d.Doc == nil {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil {
			return nil
		}
		var out []*ast.Ident
		for _, spec := range d.Specs {
			out = append(out, undocumentedSpec(spec)...)
		}
		return out
	}
	return nil
}

func undocumentedSpec(spec ast.Spec) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil {
			return []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if s.Doc == nil && s.Comment == nil {
			return slices.DeleteFunc(slices.Clone(s.Names), func(id *ast.Ident) bool { return !id.IsExported() })
		}
	}
	return nil
}
