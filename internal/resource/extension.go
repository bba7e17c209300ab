package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Extension is an object of a kind that an extension server understands. There is no schema for it here: it is taken as
// it is.
type Extension struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	// Status is that of a policy. What it is in other kinds is not read.
	Status gwv1.PolicyStatus
	// Fields are all fields of the object besides apiVersion, kind, metadata and status, as JSON.
	Fields map[string]json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler].
func (e *Extension) UnmarshalJSON(data []byte) error {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("extension object: %w", err)
	}
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	var tail struct {
		Status gwv1.PolicyStatus `json:"status"`
	}
	_ = json.Unmarshal(data, &tail) // other kinds have others
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("extension object: %w", err)
	}
	for _, known := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(fields, known)
	}
	e.TypeMeta, e.ObjectMeta, e.Status, e.Fields = head.TypeMeta, head.ObjectMeta, tail.Status, fields
	return nil
}

// MarshalJSON implements [json.Marshaler]. The same object gives the same bytes, whatever its status.
func (e *Extension) MarshalJSON() ([]byte, error) {
	fields := make(map[string]any, len(e.Fields)+3)
	for key, value := range e.Fields {
		fields[key] = value
	}
	fields["apiVersion"], fields["kind"], fields["metadata"] = e.APIVersion, e.Kind, &e.ObjectMeta
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("extension object: %w", err)
	}
	return out, nil
}

// DeepCopyObject implements [runtime.Object].
func (e *Extension) DeepCopyObject() runtime.Object {
	out := &Extension{TypeMeta: e.TypeMeta, Fields: maps.Clone(e.Fields)}
	e.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	e.Status.DeepCopyInto(&out.Status)
	return out
}

// Extensions are the kinds that extension servers understand. They are known besides [Kinds], and have no plural before
// an API server has said it.
type Extensions []*Kind

// NewExtensions returns the kinds, each once. It fails for a kind that Sluice reads itself.
func NewExtensions(kinds []schema.GroupVersionKind) (Extensions, error) {
	var out Extensions
	for _, gvk := range kinds {
		if Find(gvk.Group, gvk.Kind) != nil {
			return nil, fmt.Errorf("%s of group %q is a kind that Sluice reads itself: an extension server cannot have it",
				gvk.Kind, gvk.Group)
		}
		if known := out.find(gvk.Group, gvk.Kind); known == nil {
			k := kind[Extension](Kind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Extension: true})
			out = append(out, &k)
		} else if known.Version != gvk.Version && !slices.Contains(known.Older, gvk.Version) {
			known.Older = append(known.Older, gvk.Version)
		}
	}
	return out, nil
}

func (x Extensions) find(group, kind string) *Kind {
	for _, k := range x {
		if k.Kind == kind && k.Group == group {
			return k
		}
	}
	return nil
}

// Find returns the row of a kind that Sluice reads or an extension server understands, nil if it is neither.
func (x Extensions) Find(group, kind string) *Kind {
	if k := Find(group, kind); k != nil {
		return k
	}
	return x.find(group, kind)
}

// All returns the rows of all kinds, those of [Kinds] first.
func (x Extensions) All() []*Kind {
	out := make([]*Kind, 0, len(Kinds)+len(x))
	for i := range Kinds {
		out = append(out, &Kinds[i])
	}
	return append(out, x...)
}

// extensionTable is the part of the input of all extension objects that is for one kind.
type extensionTable struct {
	input       *incr.Input[model.Ref, *Extension]
	group, kind string
}

func (t extensionTable) ref(name model.Name) model.Ref {
	return model.Ref{Group: t.group, Kind: t.kind, Name: name}
}

func (t extensionTable) set(name model.Name, obj Object) { t.input.Set(t.ref(name), obj.(*Extension)) }
func (t extensionTable) remove(name model.Name)          { t.input.Delete(t.ref(name)) }

func (t extensionTable) get(name model.Name) (Object, bool) {
	obj, ok := t.input.Peek(t.ref(name))
	return obj, ok
}

// Extensions returns the objects that extension servers understand.
func (s *Store) Extensions() *incr.Input[model.Ref, *Extension] { return s.extensions }
