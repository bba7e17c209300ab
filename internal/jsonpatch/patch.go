// Package jsonpatch applies the JSON patches (RFC 6902) that users of Envoy Gateway write, which can say where they
// apply by JSONPath (RFC 9535), too.
//
// Unlike RFC 6902 it makes the parents of what is added, as Envoy Gateway does.
package jsonpatch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/ohler55/ojg/jp"
	"github.com/ohler55/ojg/oj"
)

// maxAdded bounds what one operation may add to a document: a JSONPath can lead to thousands of places.
const maxAdded = 32 << 20

// Check returns why an operation cannot be applied to any document: what it lacks, or has too much. What it says
// begins with the field that is wrong.
func Check(op *egv1a1.JSONPatchOperation) error {
	switch {
	case op.Path == nil && op.JSONPath == nil:
		return errors.New("path: say where to apply the operation, by path or jsonPath")
	case op.JSONPath != nil && *op.JSONPath != "":
		if _, err := parse(*op.JSONPath); err != nil {
			return err
		}
	}
	switch op.Op {
	case "add", "replace", "test":
		if op.Value == nil {
			return fmt.Errorf("value: the operation %s needs one", op.Op)
		}
		if op.From != nil {
			return fmt.Errorf("from: the operation %s has none: remove it", op.Op)
		}
	case "remove":
		if op.From != nil || op.Value != nil {
			return errors.New("op: the operation remove has neither from nor value: remove them")
		}
	case "move", "copy":
		if op.From == nil {
			return fmt.Errorf("from: the operation %s needs one", op.Op)
		}
		if op.Value != nil {
			return fmt.Errorf("value: the operation %s has none: remove it", op.Op)
		}
	default:
		return fmt.Errorf("op: %q is not known: use add, remove, replace, move, copy or test", op.Op)
	}
	return nil
}

// Apply returns the document after an operation. A jsonPath stands for every place that it leads to, with path behind
// each; one that leads nowhere is an error. The document given is not changed.
func Apply(document []byte, op *egv1a1.JSONPatchOperation) (out []byte, err error) {
	if err := Check(op); err != nil {
		return nil, err
	}
	// The libraries are given what strangers write.
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("the operation %s cannot be applied: %v", op.Op, p)
		}
	}()
	places, err := places(document, op)
	if err != nil {
		return nil, err
	}
	if op.Value != nil && len(places)*len(op.Value.Raw) > maxAdded {
		return nil, fmt.Errorf("jsonPath: it leads to %d places, too many for a value of this size", len(places))
	}
	patch := make(jsonpatch.Patch, 0, len(places))
	for _, place := range places {
		one, err := operation(place, op)
		if err != nil {
			return nil, err
		}
		patch = append(patch, one)
	}
	options := jsonpatch.NewApplyOptions()
	options.EnsurePathExistsOnAdd = true
	options.AccumulatedCopySizeLimit = maxAdded
	out, err = patch.ApplyWithOptions(document, options)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", op.Op, strings.Join(shown(places), ", "), err)
	}
	return out, nil
}

// shown returns some of many places.
func shown(places []string) []string {
	const few = 3
	if len(places) <= few {
		return places
	}
	return append(slices.Clone(places[:few]), fmt.Sprintf("and %d more", len(places)-few))
}

func operation(place string, op *egv1a1.JSONPatchOperation) (jsonpatch.Operation, error) {
	out := jsonpatch.Operation{}
	for field, value := range map[string]*string{"op": (*string)(&op.Op), "path": &place, "from": op.From} {
		if value == nil {
			continue
		}
		raw, err := json.Marshal(*value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		out[field] = (*json.RawMessage)(&raw)
	}
	if op.Value != nil {
		raw := slices.Clone(json.RawMessage(op.Value.Raw))
		out["value"] = &raw
	}
	return out, nil
}

// places returns the JSON pointers (RFC 6901) at which an operation applies. Later elements of a list come first:
// removing or adding one moves those behind it.
func places(document []byte, op *egv1a1.JSONPatchOperation) ([]string, error) {
	below := ""
	if op.Path != nil {
		below = *op.Path
	}
	if op.JSONPath == nil || *op.JSONPath == "" {
		return []string{below}, nil
	}
	path, err := parse(*op.JSONPath)
	if err != nil {
		return nil, err
	}
	tree, err := oj.Parse(document)
	if err != nil {
		return nil, fmt.Errorf("the document is no JSON: %w", err)
	}
	found := path.Locate(tree, 0)
	if len(found) == 0 {
		return nil, fmt.Errorf("jsonPath: %s leads to nothing that is there: to add what is not, "+
			"name what it is to be in, and add the rest as path", *op.JSONPath)
	}
	slices.SortFunc(found, func(a, b jp.Expr) int { return compare(b, a) })
	out := make([]string, 0, len(found))
	for _, at := range found {
		pointer, err := pointer(at)
		if err != nil {
			return nil, err
		}
		if below != "" {
			pointer = strings.TrimSuffix(pointer, "/") + "/" + strings.TrimPrefix(below, "/")
		}
		out = append(out, pointer)
	}
	return slices.Compact(out), nil
}

func parse(text string) (jp.Expr, error) {
	path, err := jp.ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("jsonPath: %q is not valid: %w", text, err)
	}
	if len(path) == 1 {
		if _, root := path[0].(jp.Root); root {
			return nil, errors.New("jsonPath: $ alone is the whole document: name something in it")
		}
	}
	return path, nil
}

// compare orders places as they are in the document, lists by index.
func compare(a, b jp.Expr) int {
	for i := range min(len(a), len(b)) {
		if c := compareSteps(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareSteps(a, b jp.Frag) int {
	m, number := a.(jp.Nth)
	n, other := b.(jp.Nth)
	if number && other {
		return cmp.Compare(m, n)
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer returns a place as a JSON pointer.
func pointer(at jp.Expr) (string, error) {
	var out strings.Builder
	for _, step := range at {
		switch s := step.(type) {
		case jp.Root:
			continue
		case jp.Nth:
			out.WriteString("/" + strconv.Itoa(int(s)))
		case jp.Child:
			out.WriteString("/" + escape.Replace(string(s)))
		default:
			return "", fmt.Errorf("jsonPath: it leads to %s, which is no place in a document", at)
		}
	}
	return out.String(), nil
}
