package style

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is what the rules look at: the text files of a repository.
type Tree struct {
	// Module is the module path.
	Module string
	// Files are sorted by path.
	Files []*File
}

// File is one text file.
type File struct {
	// Path is relative to the root, with slashes.
	Path string
	Text []byte
	// AST is nil for files that are not Go.
	AST       *ast.File
	Test      bool
	Generated bool
	fset      *token.FileSet
}

// Dir is the folder of the file, relative to the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Line is the line of a position in the file.
func (f *File) Line(pos token.Pos) int { return f.fset.Position(pos).Line }

// Parse makes a file of its text. It fails if Go does not parse.
func Parse(name string, text []byte) (*File, error) {
	f := &File{Path: name, Text: text, fset: token.NewFileSet()}
	if path.Ext(name) != ".go" {
		return f, nil
	}
	tree, err := parser.ParseFile(f.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	f.AST = tree
	f.Test = strings.HasSuffix(name, "_test.go")
	f.Generated = ast.IsGenerated(tree)
	return f, nil
}

// skipped folders hold nothing that people wrote for this repository.
var skipped = []string{".git", "bin", "node_modules"}

// Load reads the repository at root.
func Load(root, module string) (*Tree, error) {
	t := &Tree{Module: module}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(skipped, entry.Name()) && entry.IsDir():
			return filepath.SkipDir
		case slices.Contains(skipped, entry.Name()), !entry.Type().IsRegular(): // in a worktree .git is a file
			return nil
		}
		return t.read(root, name)
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", root, err)
	}
	slices.SortFunc(t.Files, func(a, b *File) int { return strings.Compare(a.Path, b.Path) })
	return t, nil
}

func (t *Tree) read(root, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if bytes.IndexByte(text, 0) >= 0 { // not text
		return nil
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	if strings.Contains(rel, "/testdata/") && path.Ext(rel) == ".go" { // may be broken on purpose
		return nil
	}
	f, err := Parse(rel, text)
	if err != nil {
		return err
	}
	t.Files = append(t.Files, f)
	return nil
}

// written calls f for every Go file that was written by hand.
func (t *Tree) written(f func(*File)) {
	for _, file := range t.Files {
		if file.AST != nil && !file.Generated {
			f(file)
		}
	}
}

// functions calls f for every function declaration of the files written by hand that has a body.
func (t *Tree) functions(f func(*File, *ast.FuncDecl)) {
	t.written(func(file *File) {
		for _, decl := range file.AST.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				f(file, fn)
			}
		}
	})
}

// functionName is Name or Receiver.Name.
func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	return receiver(fn) + "." + fn.Name.Name
}

// receiver is the name of the type that a method belongs to.
func receiver(fn *ast.FuncDecl) string {
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
