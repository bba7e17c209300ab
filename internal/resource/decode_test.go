package resource

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// inputs returns the YAML and JSON files of a folder.
func inputs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if !strings.HasSuffix(f, ".golden") {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no files in %s", dir)
	}
	return out
}

// TestBad decodes files with one mistake each. All messages are in one golden file, because they should read as if by
// one hand.
func TestBad(t *testing.T) {
	var out bytes.Buffer
	for _, file := range inputs(t, "testdata/bad") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		problems := 0
		for _, d := range decodeFile(filepath.Base(file), text) {
			if d.Object != nil && len(d.Problems) > 0 {
				t.Errorf("%s: %s has problems and is used", file, d.Ref)
			}
			for _, p := range d.Problems {
				fmt.Fprintln(&out, p)
				problems++
			}
		}
		if problems == 0 {
			t.Errorf("%s: no problem was found", file)
		}
	}
	golden(t, "testdata/bad.golden", out.Bytes())
}

// TestGood decodes files without mistakes; the golden files show the defaulted objects.
func TestGood(t *testing.T) {
	for _, file := range inputs(t, "testdata/good") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			for _, d := range decodeFile(filepath.Base(file), text) {
				for _, p := range d.Problems {
					t.Error(p)
				}
				for _, n := range d.Notices {
					fmt.Fprintln(&out, n)
				}
				if d.Object == nil {
					continue
				}
				fmt.Fprintf(&out, "line %d: %s\n", d.Line, d.Ref)
				enc := json.NewEncoder(&out)
				enc.SetIndent("", "  ")
				if err := enc.Encode(d.Object); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, file+".golden", out.Bytes())
		})
	}
}

// TestIdentity checks that an object that is wrong is still known by name, so that its last good version can be kept.
func TestIdentity(t *testing.T) {
	const head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
	for name, c := range map[string]struct{ text, ref string }{
		"schema error":   {head + "metadata: {name: a}\nspec: {rules: 3}", "HTTPRoute/default/a"},
		"duplicate key":  {head + "metadata: {name: a, namespace: b}\nspec: {}\nspec: {}", "HTTPRoute/b/a"},
		"metadata error": {head + "metadata: {name: a, labels: {x: 3}}", "HTTPRoute/default/a"},
		"older version": {strings.Replace(head, "v1", "v1beta1", 1) + "metadata: {name: a}\nspec: 3",
			"HTTPRoute/default/a"},
		"invalid name":     {head + "metadata: {name: A_B}", "/"},
		"no name":          {head + "metadata: {}", "/"},
		"not YAML":         {head + "metadata: {name: a\n", "/"},
		"misspelt kind":    {strings.Replace(head, "HTTPRoute", "HTTPRout", 1) + "metadata: {name: a}", "/"},
		"number as a name": {head + "metadata: {name: 1}", "/"},
	} {
		t.Run(name, func(t *testing.T) {
			all := decodeFile("x.yaml", []byte(c.text))
			if len(all) != 1 || len(all[0].Problems) == 0 {
				t.Fatalf("got %+v, want one object with problems", all)
			}
			if got := all[0].Ref.String(); got != c.ref {
				t.Errorf("got %q, want %q", got, c.ref)
			}
		})
	}
}

// TestA54Bounds checks that small documents cannot take a lot of memory or stack.
func TestA54Bounds(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 [a,a,a,a,a,a,a,a,a]\n")
	for i := range 12 {
		nine := strings.Repeat(fmt.Sprintf("*x%d,", i), 9)
		fmt.Fprintf(&laughs, "x%d: &x%d [%s]\n", i+1, i+1, strings.TrimSuffix(nine, ","))
	}
	for name, c := range map[string]struct{ file, text, want string }{
		"billion laughs": {"a.yaml", laughs.String(),
			"the aliases of the document stand for more than 100000 values"},
		"deep flow": {"a.yaml", "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
			"nested deeper than 100 levels"},
		"deeper flow": {"a.yaml", "a: " + strings.Repeat("[", 50000), "exceeded max depth of 10000"},
		"deep JSON":   {"a.json", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "nested deeper than 100 levels"},
		"merge of itself": {"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: &d\n  <<: *d\n  a: b\n",
			`anchor "d" contains itself`},
		"merge list of itself": {"a.yaml", "data:\n  <<: &d [*d]\n", "nested deeper than 100 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, d := range decodeFile(c.file, []byte(c.text)) {
				for _, p := range d.Problems {
					if strings.Contains(p.Message, c.want) {
						return
					}
				}
				t.Errorf("got %v, want a problem with %q", d.Problems, c.want)
			}
		})
	}
}

// TestSchemas compiles the schema of every kind that has one.
func TestSchemas(t *testing.T) {
	for i := range Kinds {
		k := &Kinds[i]
		if k.Builtin {
			if _, ok := builtins[k.Kind]; !ok {
				t.Errorf("%s has no row in builtins", k.Kind)
			}
			continue
		}
		if err := k.crd.compile(k); err != nil {
			t.Errorf("%s: %v", k.Kind, err)
		}
		if !k.crd.ruled {
			t.Errorf("%s has rules that a ruleTree does not check, so that it is slow to read", k.Kind)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, dir := range []string{"testdata/bad/*.*", "testdata/good/*.*"} {
		files, err := filepath.Glob(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, strings.HasSuffix(file, ".json"))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		file := "x.yaml"
		if isJSON {
			file = "x.json"
		}
		lines := bytes.Count(text, []byte("\n")) + 2
		for _, d := range decodeFile(file, text) {
			if d.Object != nil && (len(d.Problems) > 0 || d.Ref.Kind == "" || d.Object.GetName() != d.Ref.Name.Name) {
				t.Errorf("inconsistent: %+v", d)
			}
			for _, p := range d.Problems {
				if p.Line > lines || p.Message == "" {
					t.Errorf("problem %q is outside of the %d lines", p, lines)
				}
			}
		}
	})
}

// decodeFile splits a file and decodes its documents, one after the other. The file name says whether it is YAML or
// JSON, and is what problems are reported with.
func decodeFile(file string, text []byte) []Decoded {
	docs, err := Split(text, FormatOf(file))
	if err != nil {
		return []Decoded{{Problems: []Problem{{File: file, Message: err.Error()}}}}
	}
	var all []Decoded
	for _, doc := range docs {
		for _, d := range Decode(doc) {
			all = append(all, d.At(file, doc.Line))
		}
	}
	return all
}
