package resource

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Store holds the objects of all kinds as inputs of an engine. Changes take effect at the engine's next commit.
type Store struct {
	tables     map[schema.GroupKind]table
	extensions *incr.Input[model.Ref, *Extension]
}

// table is the input of one kind without its Go type.
type table interface {
	set(name model.Name, obj Object)
	remove(name model.Name)
	get(name model.Name) (Object, bool)
}

// typed is the input of the kind whose Go type is T.
type typed[T Object] struct {
	input *incr.Input[model.Name, T]
}

func (t typed[T]) set(name model.Name, obj Object) { t.input.Set(name, obj.(T)) }
func (t typed[T]) remove(name model.Name)          { t.input.Delete(name) }

func (t typed[T]) get(name model.Name) (Object, bool) {
	obj, ok := t.input.Peek(name)
	return obj, ok
}

// NewStore adds an input for each kind to the engine, and one for all objects of extension kinds.
func NewStore(e *incr.Engine, extensions ...*Kind) *Store {
	s := &Store{
		tables:     make(map[schema.GroupKind]table, len(Kinds)+len(extensions)),
		extensions: incr.NewInput[model.Ref, *Extension](e, "extension objects"),
	}
	for _, k := range extensions {
		s.tables[schema.GroupKind{Group: k.Group, Kind: k.Kind}] = extensionTable{s.extensions, k.Group, k.Kind}
	}
	for i := range Kinds {
		k := &Kinds[i]
		s.tables[schema.GroupKind{Group: k.Group, Kind: k.Kind}] = k.table(e, k.Plural)
	}
	return s
}

// Set stages an object. Its kind is one of [Kinds] or an extension kind; anything else is a mistake in the program, and
// panics.
func (s *Store) Set(ref model.Ref, obj Object) { s.table(ref).set(ref.Name, obj) }

// Delete stages the removal of an object.
func (s *Store) Delete(ref model.Ref) { s.table(ref).remove(ref.Name) }

// Get returns an object as of the last commit.
func (s *Store) Get(ref model.Ref) (Object, bool) { return s.table(ref).get(ref.Name) }

func (s *Store) table(ref model.Ref) table {
	t, ok := s.tables[schema.GroupKind{Group: ref.Group, Kind: ref.Kind}]
	if !ok {
		panic(fmt.Sprintf("resource: %s (group %q) is not in the table of kinds", ref, ref.Group))
	}
	return t
}

// Of returns the table of the kind whose Go type is T, for example Of[*gwv1.HTTPRoute](s).
func Of[T Object](s *Store) *incr.Input[model.Name, T] {
	for _, t := range s.tables {
		if t, ok := t.(typed[T]); ok {
			return t.input
		}
	}
	panic(fmt.Sprintf("resource: %T is not in the table of kinds", *new(T)))
}
