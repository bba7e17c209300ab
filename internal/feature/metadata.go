package feature

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// RouteMetadata is the namespace in the metadata of an Envoy route under which it says what it was made of, as Envoy
// Gateway has it.
const RouteMetadata = "envoy-gateway"

// Describe has the routes that the filters act on say what they were made of.
func (s *Scope) Describe() {
	s.described = true
	if s.Route != nil {
		s.Route.Describe()
	}
}

// Described reports whether the routes that the filters act on say what they were made of.
func (s *Scope) Described() bool { return s.described }

// Describe has the route say what it was made of, in its metadata: kind, name and namespace of the object, and the name
// of the rule if it has one.
func (r *Route) Describe() {
	text := func(s string) *structpb.Value { return structpb.NewStringValue(s) }
	resource := &structpb.Struct{Fields: map[string]*structpb.Value{
		"kind": text(r.Key.Kind), "name": text(r.Key.Name.Name), "namespace": text(r.Key.Namespace),
	}}
	if r.Rule.Name != "" {
		resource.Fields["sectionName"] = text(r.Rule.Name)
	}
	if r.Proto.Metadata == nil {
		r.Proto.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	}
	r.Proto.Metadata.FilterMetadata[RouteMetadata] = &structpb.Struct{Fields: map[string]*structpb.Value{
		"resources": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(resource)}}),
	}}
}
