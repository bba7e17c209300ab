package resource

import (
	"encoding/base64"
	gojson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/json"
)

// strict decodes a JSON value into a Go type as the API server does with strict field validation, and reports whether
// it fits the type. Fields that are not in the type are problems, but do not hinder that.
func (d *decoder) strict(from any, into any) bool {
	data, err := gojson.Marshal(from)
	if err != nil {
		d.problem(d.node, "", err.Error())
		return false
	}
	unknown, err := json.UnmarshalStrict(data, into)
	for _, u := range unknown {
		path := ""
		var fe json.FieldError
		if errors.As(u, &fe) {
			path = d.written(fe.FieldPath())
			fe.SetFieldPath(path)
		}
		d.problem(d.at(path), path, u.Error())
	}
	if err != nil {
		d.unfit(err)
	}
	return err == nil
}

// unfit reports a value that does not fit its Go type.
func (d *decoder) unfit(err error) {
	var typ *gojson.UnmarshalTypeError
	var b64 base64.CorruptInputError
	switch {
	case errors.As(err, &typ):
		at, hint, path := d.node, "", d.written(d.unembedded(typ.Field))
		if n := locateUnindexed(d.node, strings.Split(path, "."), typ.Value); n != nil {
			at = n
			if typ.Type.Kind().String() == "string" {
				hint = quoteHint(n)
			}
		}
		d.problem(at, path, err.Error()+hint)
	case errors.As(err, &b64):
		for _, path := range []string{"data", "binaryData"} {
			d.badBase64(path)
		}
	default:
		d.problem(d.node, "", err.Error())
	}
}

// written returns the path of a field of obj as it is in the document.
func (d *decoder) written(path string) string {
	first, _, _ := strings.Cut(path, ".")
	if d.under == "" || path == "" || identifies(first) {
		return path
	}
	return d.under + "." + path
}

// identifies reports whether a field says what a document is, which is always said at its top.
func identifies(key string) bool { return key == "apiVersion" || key == "kind" }

// unembedded returns the path of a field of obj from Go's, which has the names of embedded structs, too.
func (d *decoder) unembedded(field string) string {
	var out []string
	for _, name := range strings.Split(field, ".") {
		embedded := name != "" && unicode.IsUpper(rune(name[0])) && lookup(d.obj, append(slices.Clone(out), name)) == nil
		if !embedded {
			out = append(out, name)
		}
	}
	return strings.Join(out, ".")
}

func (d *decoder) badBase64(path string) {
	data, _ := d.obj[path].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text, _ := data[key].(string)
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			p := path + "[" + key + "]"
			d.problem(d.at(p), p, fmt.Sprintf("%v: write the text itself under stringData, or encode it with base64", err))
		}
	}
}

// metadata validates the metadata of a custom resource, which its schema says nothing about.
func (d *decoder) metadata() {
	var only struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if _, ok := d.obj["metadata"].(map[string]any); !ok && d.obj["metadata"] != nil {
		return // the schema says that it must be an object
	}
	if d.strict(map[string]any{"metadata": d.obj["metadata"]}, &only) {
		d.checkMeta(&only.Metadata, validation.NameIsDNSSubdomain)
	}
}

func (d *decoder) checkMeta(meta *metav1.ObjectMeta, name validation.ValidateNameFunc) {
	if meta.Namespace == "" && !d.kind.Cluster {
		meta.Namespace = "default"
	}
	d.invalid(validation.ValidateObjectMeta(meta, !d.kind.Cluster, name, field.NewPath("metadata")))
}
