package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Configuration is a file that configures the program itself. It has an apiVersion and a kind like an object, but no
// name, and the API server does not know it: only its Go type says what may be in it.
type Configuration struct {
	file string
	// before is how many lines of the file come before its document.
	before  int
	notices []Notice
	d       decoder
}

// ReadConfiguration decodes a file strictly into a Go type: unknown fields are problems, and so are values that do not
// fit. The problems know file and line; the configuration is nil if there are
// any.
func ReadConfiguration(file string, text []byte, into any) (*Configuration, []Problem) {
	whole := func(message string) []Problem { return []Problem{{File: file, Message: message}} }
	docs, err := Split(text, FormatOf(file))
	switch {
	case err != nil:
		return nil, whole(err.Error())
	case len(docs) == 0:
		return nil, whole("the file is empty")
	case len(docs) > 1:
		return nil, []Problem{{File: file, Line: docs[1].Line, Message: "a second document: there is one configuration"}}
	}
	nodes, bad := parse(docs[0])
	before := docs[0].Line - 1
	if bad != nil {
		return nil, []Problem{{File: file, Line: before + bad.line, Column: bad.column, Message: bad.message}}
	}
	if len(nodes) != 1 {
		return nil, whole("there is not one configuration in it")
	}
	c := &Configuration{file: file, before: before, d: decoder{node: nodes[0]}}
	c.decode(into)
	if problems := c.problems(); len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func (c *Configuration) decode(into any) {
	conv := converter{}
	value := conv.value(c.d.node)
	for _, f := range conv.faults {
		c.d.problem(f.node, f.field, f.message)
	}
	obj, ok := value.(map[string]any)
	if !ok && !conv.lost {
		c.d.problem(c.d.node, "", "expected an object with apiVersion and kind")
	}
	if len(c.d.out.Problems) == 0 {
		c.d.obj = obj
		c.flatten()
	}
	if len(c.d.out.Problems) == 0 {
		c.d.strict(c.d.obj, into)
	}
}

// flatten takes a file that is written like an object, with metadata and with its fields under spec, as one that has
// them beside apiVersion and kind.
func (c *Configuration) flatten() {
	_, named := c.d.obj["metadata"]
	spec, ok := c.d.obj["spec"]
	if !ok {
		if named {
			delete(c.d.obj, "metadata")
			c.notice("metadata", "without effect: a configuration has no name, leave it out")
		}
		return
	}
	fields, ok := spec.(map[string]any)
	if !ok && spec != nil {
		c.d.problem(c.d.at("spec"), "spec", "must have the fields of the configuration")
		return
	}
	flat := maps.Clone(fields)
	if flat == nil {
		flat = map[string]any{}
	}
	for key := range fields {
		if identifies(key) {
			c.d.problem(c.d.at("spec."+key), "spec."+key, "must be at the top of the file only")
		}
	}
	for key, value := range c.d.obj {
		switch {
		case identifies(key):
			flat[key] = value
		case key != "metadata" && key != "spec":
			c.d.problem(c.d.at(key), key, "the fields are under spec: write this one there too, or all of them without spec")
		}
	}
	c.d.obj, c.d.under = flat, "spec"
	c.notice("spec", "its fields are taken as those of the file: write them beside apiVersion and kind, without "+
		"metadata and spec")
}

func (c *Configuration) notice(path, message string) {
	c.notices = append(c.notices, Notice{
		File: c.file, Line: c.before + c.d.at(path).Line, Message: path + ": " + message,
	})
}

// Notices are what a user should know about how the file is written.
func (c *Configuration) Notices() []Notice { return c.notices }

// problems returns what decoding found.
func (c *Configuration) problems() []Problem {
	out := c.d.out.Problems
	for i := range out {
		out[i].File, out[i].Line = c.file, c.before+out[i].Line
	}
	slices.SortFunc(out, Problem.Compare)
	return slices.Compact(out)
}

// Problem returns a problem at a field ("provider.kubernetes.watch", "extensionManagers[0].name"), which does not have
// to be there: its line is then that of the nearest one around it. It is named as the file has it.
func (c *Configuration) Problem(path, message string) Problem {
	path = c.d.written(path)
	at := c.d.at(path)
	return Problem{File: c.file, Line: c.before + at.Line, Column: at.Column, Field: path, Message: message}
}

// Get returns what the file says at a path of fields without indexes, as JSON; nil if it says nothing. The elements of
// a list are looked through, and the first that has the field counts.
func (c *Configuration) Get(path string) any { return lookup(c.d.obj, strings.Split(path, ".")) }

func lookup(value any, path []string) any {
	switch v := value.(type) {
	case []any:
		if len(path) == 0 {
			return v
		}
		for _, item := range v {
			if found := lookup(item, path); found != nil {
				return found
			}
		}
		return nil
	case map[string]any:
		if len(path) > 0 {
			return lookup(v[path[0]], path[1:])
		}
	}
	if len(path) > 0 {
		return nil
	}
	return value
}

// Spec validates a field as the spec of a kind that has a CRD, in the words of the API server, and returns the object
// that it would be, defaulted; nil if the field is not there.
func (c *Configuration) Spec(path, kind string) (Object, []Problem) {
	spec, ok := c.Get(path).(map[string]any)
	k := Find(model.GroupEnvoyGateway, kind)
	if !ok || k == nil || k.crd == nil {
		return nil, nil
	}
	if err := k.crd.compile(k); err != nil {
		return nil, []Problem{c.Problem(path, err.Error())}
	}
	obj := map[string]any{
		"apiVersion": k.apiVersion(), "kind": kind, "metadata": map[string]any{"name": "x"},
		"spec": runtime.DeepCopyJSONValue(spec),
	}
	_, errs := k.crd.admit(obj) // unknown fields are known from the Go type
	var out []Problem
	for _, err := range errs {
		at := strings.Replace(err.Field, "spec", path, 1)
		out = append(out, c.Problem(at, (&field.Error{
			Type: err.Type, Field: at, BadValue: err.BadValue, Detail: err.Detail,
		}).ErrorBody()))
	}
	if len(out) > 0 {
		return nil, out
	}
	into := k.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj, into); err != nil {
		return nil, []Problem{c.Problem(path, fmt.Sprintf("cannot be read as the spec of an %s: %v", kind, err))}
	}
	return into, nil
}
