// Package patch changes resources that are built already as users of EnvoyPatchPolicies ask for. It shows them in the
// shape and with the names that Envoy Gateway gives them, so that what was written for that applies unchanged, and
// keeps changes within what a user may reach.
package patch

import (
	"fmt"
	"regexp"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/jsonpatch"
)

// View is how Envoy Gateway would have a resource. Both functions change the message that they are given.
type View interface {
	// Show gives a resource as Sluice built it the shape and names of Envoy Gateway.
	Show(m proto.Message)
	// Restore takes it back after the change. It returns an error if it is no longer that resource.
	Restore(m proto.Message) error
}

// Apply returns a resource after an operation on its JSON, which has the field names of Envoy's documentation. m is not
// changed.
func Apply(m proto.Message, op *egv1a1.JSONPatchOperation) (proto.Message, error) {
	document, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("the resource has something in it that cannot be shown as JSON: %w", err)
	}
	document, err = jsonpatch.Apply(document, op)
	if err != nil {
		return nil, err
	}
	return Decode(document, m)
}

// Decode returns a resource of the type of another one that was written as JSON. What is wrong with it is told without
// saying what is in it if that is secret.
func Decode(document []byte, like proto.Message) (proto.Message, error) {
	out := like.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(document, out); err != nil {
		name := like.ProtoReflect().Descriptor().FullName()
		if name.Name() == "Secret" {
			return nil, fmt.Errorf("the result is no %s", name)
		}
		return nil, fmt.Errorf("the result is no %s: %s", name, plain(err))
	}
	return out, nil
}

// position is where in the JSON of the whole resource an error is: nobody sees that, and it changes with whatever else
// is in the resource.
var position = regexp.MustCompile(`\(line [0-9]+:[0-9]+\): `)

// plain is the message of an error of protojson, which has spaces of two kinds so that nobody compares it.
func plain(err error) string {
	return position.ReplaceAllString(strings.ReplaceAll(err.Error(), "\u00a0", " "), "")
}
