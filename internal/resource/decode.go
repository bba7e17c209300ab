package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Decoded is one object that a document holds, or what could be made out of it.
type Decoded struct {
	// Ref names the object. It is the zero value if the document does not say clearly which object it is, and for
	// what is ignored; if there are problems too, it may have been meant to be any object.
	Ref model.Ref
	// Object is complete, valid and defaulted; nil if there are problems, or if it is ignored.
	Object Object
	// Remains is what is left of an object with problems that keeps requests away from backends, see [Unreadable]; nil if
	// nothing depends on it.
	Remains Object
	// Line is where the object starts.
	Line int
	// Problems are everything that is wrong with it, by position.
	Problems []Problem
	Notices  []Notice
}

// Decode decodes a document into the objects it holds: one, several if it is a List or JSON, or none. Lines are those
// of the document's text, counted from 1, so that the result is the same wherever in a file the document is;
// [Decoded.At] places it. It does not change or keep the text.
func Decode(doc Document) []Decoded { return Extensions(nil).Decode(doc) }

// Decode is the function of that name where there are extension kinds too.
func (x Extensions) Decode(doc Document) []Decoded {
	nodes, bad := parse(doc)
	if bad != nil {
		p := Problem{Line: bad.line, Column: bad.column, Message: bad.message}
		return []Decoded{{Line: 1, Problems: []Problem{p}}}
	}
	var all []Decoded
	for _, n := range nodes {
		d := decoder{node: n, extensions: x}
		all = append(all, d.document()...)
	}
	return all
}

// At returns a copy that says that the document is in a file and starts in a line of it.
func (d Decoded) At(file string, line int) Decoded {
	d.Line += line - 1
	d.Problems, d.Notices = slices.Clone(d.Problems), slices.Clone(d.Notices)
	for i := range d.Problems {
		d.Problems[i].File = file
		d.Problems[i].Line += line - 1
	}
	for i := range d.Notices {
		d.Notices[i].File = file
		d.Notices[i].Line += line - 1
	}
	return d
}

// decoder decodes one object.
type decoder struct {
	node       *yaml.Node
	extensions Extensions
	kind       *Kind
	out        Decoded
	// shown is the object as far as the document says which it is, for messages.
	shown model.Ref
	// obj is the object as JSON.
	obj map[string]any
	// under is the field that the fields of obj are under in the document, apiVersion and kind aside. It is empty if
	// they are where they seem to be.
	under string
}

// document decodes the node, and the items of a List instead of it.
func (d *decoder) document() []Decoded {
	d.out.Line = d.node.Line
	conv := converter{}
	value := conv.value(d.node)
	obj, ok := value.(map[string]any)
	switch {
	case value == nil && len(conv.faults) == 0:
		return nil
	case !ok && !conv.lost:
		d.problem(d.node, "", "expected an object with apiVersion, kind and metadata")
		return []Decoded{d.out}
	}
	if items, ok := d.items(obj); ok && len(conv.faults) == 0 {
		return items
	}
	d.obj = obj
	if d.identify() && !conv.lost {
		d.body()
	}
	for _, f := range conv.faults {
		d.problem(f.node, f.field, f.message)
	}
	return d.finish()
}

func (d *decoder) finish() []Decoded {
	if len(d.out.Problems) > 0 {
		d.out.Object, d.out.Remains = nil, d.remains()
		for i := range d.out.Problems {
			d.out.Problems[i].Object = d.shown
		}
		slices.SortFunc(d.out.Problems, Problem.Compare)
		d.out.Problems = slices.Compact(d.out.Problems)
	}
	return []Decoded{d.out}
}

// items decodes the items of a List, which kubectl writes when asked for several objects. It returns false for
// anything else.
func (d *decoder) items(obj map[string]any) ([]Decoded, bool) {
	kind, _ := obj["kind"].(string)
	items, ok := obj["items"].([]any)
	if !ok || !strings.HasSuffix(kind, "List") {
		return nil, false
	}
	_, list := locate(d.node, "items")
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) != len(items) {
		return nil, false
	}
	var all []Decoded
	for _, n := range list.Content {
		item := decoder{node: n, extensions: d.extensions}
		all = append(all, item.document()...)
	}
	return all, true
}

// identify finds out which object it is. It returns false if the rest of it cannot be understood.
func (d *decoder) identify() bool {
	apiVersion, kind := d.text("apiVersion"), d.text("kind")
	metadata, _ := d.obj["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	if kind != "" {
		d.shown = model.Ref{Kind: kind, Name: model.Name{Namespace: namespace, Name: name}}
	}
	if apiVersion == "" || kind == "" {
		return false
	}
	is := d.extensions.recognise(apiVersion, kind)
	switch {
	case is.wrong != "":
		d.problem(d.at(is.field), is.field, is.wrong)
		return false
	case is.ignored != "":
		d.notice(is.ignored)
		return false
	}
	d.kind = is.kind
	if namespace == "" && !is.kind.Cluster {
		namespace = "default"
	}
	if metadata != nil && metadata["namespace"] == nil && !is.kind.Cluster {
		metadata["namespace"] = namespace
	}
	d.shown = is.kind.Ref(model.Name{Namespace: namespace, Name: name})
	if len(validation.IsDNS1123Subdomain(name)) == 0 && (namespace == "") == is.kind.Cluster {
		d.out.Ref = d.shown
	}
	if is.older != "" {
		d.notice(fmt.Sprintf("%s %s is read as %s: change apiVersion to %s",
			kind, apiVersion, is.kind.Version, is.kind.apiVersion()))
		d.obj["apiVersion"] = is.kind.apiVersion()
	}
	return true
}

// text returns a string field that every object must have.
func (d *decoder) text(key string) string {
	switch s := d.obj[key].(type) {
	case string:
		if s != "" {
			return s
		}
	case nil:
	default:
		d.problem(d.at(key), key, field.Invalid(nil, s, "must be a string").ErrorBody())
		return ""
	}
	d.problem(d.at(key), key, field.Required(nil, "must not be empty").ErrorBody())
	return ""
}

// serverOwned are the metadata that the API server sets. They are in what kubectl exports, and mean nothing in a file.
var serverOwned = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
	"resourceVersion", "selfLink", "uid",
}

// body validates, defaults and converts the object, whose kind is known.
func (d *decoder) body() {
	if !d.kind.Status {
		delete(d.obj, "status")
	}
	if metadata, ok := d.obj["metadata"].(map[string]any); ok {
		for _, key := range serverOwned {
			delete(metadata, key)
		}
	}
	if d.kind.Builtin {
		d.builtin()
		return
	}
	if d.kind.Extension {
		d.extension()
		return
	}
	if err := d.kind.crd.compile(d.kind); err != nil {
		d.problem(d.node, "", err.Error())
		return
	}
	d.metadata()
	if HasOlderShapes(d.kind.Group) {
		for _, notice := range Reshape(d.obj) {
			d.notice(notice)
		}
	}
	unknown, errs := d.kind.crd.admit(d.obj)
	for _, path := range unknown {
		d.problem(d.at(path), path, fmt.Sprintf("unknown field %q", path))
	}
	d.invalid(errs)
	if len(d.out.Problems) > 0 {
		return
	}
	obj := d.kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.obj, obj); err != nil {
		d.problem(d.node, "", fmt.Sprintf("cannot be read as a %s: %v", d.kind.Kind, err))
		return
	}
	d.out.Object = obj
}

// extension takes an object whose kind is known to an extension server alone: of it nothing can be checked but the
// metadata.
func (d *decoder) extension() {
	d.metadata()
	if len(d.out.Problems) > 0 {
		return
	}
	data, err := json.Marshal(d.obj)
	obj := &Extension{}
	if err == nil {
		err = obj.UnmarshalJSON(data)
	}
	if err != nil {
		d.problem(d.node, "", fmt.Sprintf("cannot be read as a %s: %v", d.kind.Kind, err))
		return
	}
	d.out.Object = obj
}

// invalid reports what validation found.
func (d *decoder) invalid(errs field.ErrorList) {
	for _, err := range placed(errs) {
		at, value := locate(d.node, err.Field)
		message := err.ErrorBody()
		if err.Type == field.ErrorTypeTypeInvalid && strings.Contains(err.Detail, "must be of type string") {
			message += quoteHint(value)
		}
		d.problem(at, err.Field, message)
	}
}

// at returns the node nearest to a field.
func (d *decoder) at(path string) *yaml.Node {
	n, _ := locate(d.node, path)
	return n
}

func (d *decoder) problem(n *yaml.Node, path, message string) {
	d.out.Problems = append(d.out.Problems, Problem{Line: n.Line, Column: n.Column, Field: path, Message: message})
}

func (d *decoder) notice(message string) {
	d.out.Notices = append(d.out.Notices, Notice{Line: d.node.Line, Object: d.shown, Message: message})
}
