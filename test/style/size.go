package style

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"strings"
	"unicode/utf8"
)

// The limits. A test may list more cases than a function has lines, and each thing that it checks is a branch.
const (
	maxFileLines         = 500
	maxTestFileLines     = 800
	maxColumns           = 120
	maxFunctionLines     = 60
	maxTestFunctionLines = 120
	maxComplexity        = 15
	maxTestComplexity    = 25
	maxParameters        = 5
)

func fileLines(t *Tree) []Finding {
	var out []Finding
	t.written(func(f *File) {
		limit := maxFileLines
		if f.Test {
			limit = maxTestFileLines
		}
		if n := bytes.Count(f.Text, []byte("\n")); n > limit {
			out = append(out, Finding{
				Path: f.Path, Message: fmt.Sprintf("%d lines, at most %d: a file has one subject", n, limit),
			})
		}
	})
	return out
}

func lineLength(t *Tree) []Finding {
	var out []Finding
	t.written(func(f *File) {
		for i, line := range strings.Split(string(f.Text), "\n") {
			if n := utf8.RuneCountInString(line); n > maxColumns && !strings.HasPrefix(line, "//go:") {
				out = append(out, Finding{
					Path: f.Path, Line: i + 1, Message: fmt.Sprintf("%d columns, at most %d", n, maxColumns),
				})
			}
		}
	})
	return out
}

func functionLines(t *Tree) []Finding {
	var out []Finding
	t.functions(func(f *File, fn *ast.FuncDecl) {
		limit := maxFunctionLines
		if f.Test {
			limit = maxTestFunctionLines
		}
		if n := f.Line(fn.End()) - f.Line(fn.Pos()) + 1; n > limit {
			out = append(out, Finding{
				Path: f.Path, Line: f.Line(fn.Pos()), Subject: functionName(fn),
				Message: fmt.Sprintf("%s has %d lines, at most %d: split it", functionName(fn), n, limit),
			})
		}
	})
	return out
}

func complexity(t *Tree) []Finding {
	var out []Finding
	t.functions(func(f *File, fn *ast.FuncDecl) {
		limit := maxComplexity
		if f.Test {
			limit = maxTestComplexity
		}
		if n := cyclomatic(fn); n > limit {
			out = append(out, Finding{
				Path: f.Path, Line: f.Line(fn.Pos()), Subject: functionName(fn),
				Message: fmt.Sprintf("%s has cyclomatic complexity %d, at most %d: split it",
					functionName(fn), n, limit),
			})
		}
	})
	return out
}

// cyclomatic counts the ways through a function, those of the function literals in it included: one, and one more for
// each branch, loop, case, && and ||.
func cyclomatic(fn *ast.FuncDecl) int {
	n := 1
	ast.Inspect(fn.Body, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if x.List != nil { // not default
				n++
			}
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

func parameters(t *Tree) []Finding {
	var out []Finding
	t.functions(func(f *File, fn *ast.FuncDecl) {
		if n := fn.Type.Params.NumFields(); n > maxParameters {
			out = append(out, Finding{
				Path: f.Path, Line: f.Line(fn.Pos()), Subject: functionName(fn),
				Message: fmt.Sprintf("%s has %d parameters, at most %d: what belongs together is a struct",
					functionName(fn), n, maxParameters),
			})
		}
	})
	return out
}
