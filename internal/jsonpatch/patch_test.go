package jsonpatch

import (
	"encoding/json"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
)

// decode reads an operation as users write it.
func decode(t *testing.T, text string) *egv1a1.JSONPatchOperation {
	t.Helper()
	op := &egv1a1.JSONPatchOperation{}
	if err := json.Unmarshal([]byte(text), op); err != nil {
		t.Fatal(err)
	}
	return op
}

func value(t *testing.T, text string) (out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func TestApply(t *testing.T) {
	for name, tt := range map[string]struct{ document, op, want string }{
		"add": {`{"a":1}`, `{"op":"add","path":"/b","value":2}`, `{"a":1,"b":2}`},
		"add with parents": {
			`{}`, `{"op":"add","path":"/a/b/0/c","value":true}`, `{"a":{"b":[{"c":true}]}}`,
		},
		"append":  {`{"a":[1]}`, `{"op":"add","path":"/a/-","value":2}`, `{"a":[1,2]}`},
		"remove":  {`{"a":1,"b":2}`, `{"op":"remove","path":"/a"}`, `{"b":2}`},
		"move":    {`{"a":1}`, `{"op":"move","from":"/a","path":"/b"}`, `{"b":1}`},
		"copy":    {`{"a":1}`, `{"op":"copy","from":"/a","path":"/b"}`, `{"a":1,"b":1}`},
		"test":    {`{"a":1}`, `{"op":"test","path":"/a","value":1}`, `{"a":1}`},
		"escaped": {`{"a/b":{"~":1}}`, `{"op":"replace","path":"/a~1b/~0","value":2}`, `{"a/b":{"~":2}}`},
		"jsonPath": {
			`{"v":[{"x":"a"},{"x":"b"}]}`, `{"op":"add","jsonPath":"$.v[?(@.x=='b')]","path":"y","value":1}`,
			`{"v":[{"x":"a"},{"x":"b","y":1}]}`,
		},
		"jsonPath by match": {
			`{"virtual_hosts":[{"name":"default/eg/http/www_example_com"},{"name":"default/eg/http/*"}]}`,
			`{"op":"add","jsonPath":"..virtual_hosts[?match(@.name, '.*www_example_com')]",` +
				`"path":"include_attempt_count_in_response","value":true}`,
			`{"virtual_hosts":[{"name":"default/eg/http/www_example_com","include_attempt_count_in_response":true},` +
				`{"name":"default/eg/http/*"}]}`,
		},
		"jsonPath with a regular expression": {
			`{"r":[{"name":"httproute/a/b"},{"name":"x"}]}`,
			`{"op":"add","jsonPath":"..r[?(@.name=~\"httproute/a\")]","path":"/c/d","value":{}}`,
			`{"r":[{"name":"httproute/a/b","c":{"d":{}}},{"name":"x"}]}`,
		},
		"jsonPath to names with slashes": {
			`{"a":{"b/c~d":[1,2]}}`, `{"op":"replace","jsonPath":"$.a['b/c~d'][1]","value":3}`, `{"a":{"b/c~d":[1,3]}}`,
		},
		"remove several elements of a list": {
			`{"v":[1,2,3,4,5,6,7,8,9,10,11,12]}`, `{"op":"remove","jsonPath":"$.v[?(@ > 2)]"}`, `{"v":[1,2]}`,
		},
		"add before several elements of a list": {
			`{"v":[1,2]}`, `{"op":"add","jsonPath":"$.v[*]","value":0}`, `{"v":[0,1,0,2]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Apply([]byte(tt.document), decode(t, tt.op))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(value(t, tt.want), value(t, string(got))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplyFails(t *testing.T) {
	many := `{"v":[` + strings.Repeat("0,", 4000) + `0]}`
	for name, tt := range map[string]struct{ document, op, want string }{
		"nowhere":         {`{}`, `{"op":"add","value":1}`, "path: say where"},
		"no value":        {`{}`, `{"op":"add","path":"/a"}`, "value: the operation add needs one"},
		"from":            {`{}`, `{"op":"add","path":"/a","value":1,"from":"/b"}`, "from: the operation add has none"},
		"no from":         {`{}`, `{"op":"move","path":"/a"}`, "from: the operation move needs one"},
		"value to move":   {`{}`, `{"op":"move","path":"/a","from":"/b","value":1}`, "value: the operation move has none"},
		"value to remove": {`{}`, `{"op":"remove","path":"/a","value":1}`, "neither from nor value"},
		"unknown":         {`{}`, `{"op":"merge","path":"/a"}`, `op: "merge" is not known`},
		"not there":       {`{"a":1}`, `{"op":"remove","path":"/b"}`, "remove /b: "},
		"another value":   {`{"a":1}`, `{"op":"test","path":"/a","value":2}`, "test /a: "},
		"beyond a list":   {`{"a":[]}`, `{"op":"replace","path":"/a/3","value":2}`, "replace /a/3: "},
		"no JSONPath":     {`{}`, `{"op":"add","jsonPath":"$.a[?(","value":1}`, "jsonPath: "},
		"the root":        {`{}`, `{"op":"add","jsonPath":"$","value":1}`, "jsonPath: $ alone"},
		"leads nowhere":   {`{}`, `{"op":"add","jsonPath":"$.a","path":"b","value":1}`, "leads to nothing that is there"},
		"too much": {
			many, `{"op":"replace","jsonPath":"$.v[*]","value":"` + strings.Repeat("x", 10_000) + `"}`, "too many",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Apply([]byte(tt.document), decode(t, tt.op))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s and %v, want an error with %q", got, err, tt.want)
			}
		})
	}
}

// FuzzApply looks for what makes the libraries panic, or changes the document that was given.
func FuzzApply(f *testing.F) {
	f.Add(`{"v":[{"x":"a"},{"x":"b"}]}`, "add", "/v/0/y/-", "$.v[?(@.x=='b')]", "/v/1", "1")
	f.Add(`{"a":[1,2]}`, "move", "/a/-5", "..a", "/a/1", "null")
	f.Add(`[]`, "copy", "", "$[*]", "", "")
	f.Fuzz(func(t *testing.T, document, op, path, jsonPath, from, value string) {
		if !json.Valid([]byte(document)) {
			t.Skip()
		}
		in := &egv1a1.JSONPatchOperation{Op: egv1a1.JSONPatchOperationType(op), Path: &path}
		if jsonPath != "" {
			in.JSONPath = &jsonPath
		}
		if from != "" {
			in.From = &from
		}
		if json.Valid([]byte(value)) {
			decoded := decode(t, `{"op":"add","value":`+value+`}`)
			in.Value = decoded.Value
		}
		given := []byte(document)
		got, err := Apply(given, in)
		if string(given) != document {
			t.Errorf("the document became %s", given)
		}
		if err == nil && !json.Valid(got) {
			t.Errorf("the result is no JSON: %s", got)
		}
	})
}
