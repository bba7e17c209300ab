package envoy

import (
	"github.com/cncf/xds/go/udpa/annotations"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// redacted stands for what is not shown.
const redacted = "[redacted]"

// secretFields are those that can have values of Secrets, although Envoy's API does not mark them.
var secretFields = map[protoreflect.FullName]bool{
	"envoy.extensions.filters.http.ext_authz.v3.CheckSettings.context_extensions": true,
}

func isSensitive(fd protoreflect.FieldDescriptor) bool {
	marked, _ := proto.GetExtension(fd.Options(), annotations.E_Sensitive).(bool)
	return marked || secretFields[fd.FullName()]
}

// redact replaces what Envoy's API marks as sensitive (udpa.annotations.sensitive), as Envoy does where it shows its
// configuration: private keys, passwords, API keys.
func redact(m protoreflect.Message) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		redactPacked(packed)
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if isSensitive(fd) {
			hide(m, fd, v)
			return true
		}
		eachMessage(fd, v, redact)
		return true
	})
}

// redactPacked redacts a packed message. One of a type that is not known stays as it is: it cannot be shown either.
func redactPacked(packed *anypb.Any) {
	inner, err := packed.UnmarshalNew()
	if err != nil {
		return
	}
	redact(inner.ProtoReflect())
	*packed = anypb.Any{}
	_ = packed.MarshalFrom(inner) //nolint:errcheck // it has just been read
}

// eachMessage calls f for every message that a field holds.
func eachMessage(fd protoreflect.FieldDescriptor, v protoreflect.Value, f func(protoreflect.Message)) {
	switch {
	case fd.IsMap() && fd.MapValue().Message() != nil:
		v.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
			f(value.Message())
			return true
		})
	case fd.IsMap() || fd.Message() == nil:
	case fd.IsList():
		for i := range v.List().Len() {
			f(v.List().Get(i).Message())
		}
	default:
		f(v.Message())
	}
}

// hide replaces the value of a sensitive field.
func hide(m protoreflect.Message, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.Kind() == protoreflect.StringKind && !fd.IsList():
		m.Set(fd, protoreflect.ValueOfString(redacted))
	case fd.Kind() == protoreflect.BytesKind && !fd.IsList():
		m.Set(fd, protoreflect.ValueOfBytes([]byte(redacted)))
	case fd.Message() != nil && fd.Message().FullName() == (&corev3.DataSource{}).ProtoReflect().Descriptor().FullName() &&
		!fd.IsList() && !fd.IsMap():
		m.Set(fd, protoreflect.ValueOfMessage(inline([]byte(redacted)).ProtoReflect()))
	case fd.IsMap() && fd.MapValue().Kind() == protoreflect.StringKind:
		v.Map().Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
			v.Map().Set(key, protoreflect.ValueOfString(redacted))
			return true
		})
	case fd.Message() != nil && !fd.IsMap():
		eachMessage(fd, v, hideAll)
	default:
		m.Clear(fd)
	}
}

// hideAll hides every field of a message that is sensitive as a whole.
func hideAll(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		hide(m, fd, v)
		return true
	})
}
