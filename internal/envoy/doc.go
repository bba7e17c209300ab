// Package envoy turns the model into what Envoy runs: routes, virtual hosts, listeners, clusters, endpoints and
// secrets, marshalled and ready to serve.
//
// It is pure. [New] adds its tables to the engine behind those of package resolve; what a feature means in Envoy is
// known to the feature alone, through [feature.Chain].
package envoy

import (
	"cmp"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// marshal returns the deterministic bytes of a message that Envoy's own validation rules accept. A message that breaks
// them is a mistake in Sluice: it panics, the engine keeps the last good value and reports the fault.
func marshal(m proto.Message) []byte {
	if v, ok := m.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			panic(fmt.Sprintf("envoy: invalid %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
		}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("envoy: marshal %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return b
}

// toAny packs a message, with deterministic bytes.
func toAny(m proto.Message) *anypb.Any {
	return &anypb.Any{
		TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()),
		Value:   marshal(m),
	}
}

func hash(b []byte) uint64 { return xxhash.Sum64(b) }

// compareBool orders true before false.
func compareBool(a, b bool) int {
	if a == b {
		return 0
	}
	if a {
		return -1
	}
	return 1
}

// compareDesc orders the larger first.
func compareDesc[T cmp.Ordered](a, b T) int { return cmp.Compare(b, a) }
