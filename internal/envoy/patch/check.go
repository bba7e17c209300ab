package patch

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// Reserved is what the names of the clusters, listeners and secrets that an Envoy starts with begin with: those of the
// control plane and of its own admin interface.
const Reserved = "sluice_"

// Limits is what a user may reach.
type Limits struct {
	// Local allows addresses of the machine that Envoy runs on, and link-local ones.
	Local bool
	// Foreign returns whose cluster something is, if it is one that the user may not send requests to; else "". nil if
	// there are none.
	Foreign func(cluster string) string
	// Taken returns what has a port on which a listener would listen; else "".
	Taken func(port uint32) string
}

// Check returns why a resource is refused that was changed, or is new if before is nil: it breaks Envoy's own rules
// (those of its API, in packed messages too), or it reaches further than the user may.
func Check(before, after proto.Message, limits Limits) error {
	was, is := &findings{}, &findings{validate: true}
	if before != nil {
		was.message(before.ProtoReflect())
	}
	is.check(after)
	is.message(after.ProtoReflect())
	if is.err != nil {
		return is.err
	}
	for _, text := range slices.Sorted(maps.Keys(is.texts)) {
		more := is.texts[text] > was.texts[text]
		switch {
		case more && strings.HasPrefix(text, Reserved):
			return fmt.Errorf("%q is Envoy's own: what begins with %q cannot be used", text, Reserved)
		case was.texts[text] == 0 && limits.Foreign != nil && limits.Foreign(text) != "":
			return fmt.Errorf("%q is a cluster of %s too, which the policy is not for", text, limits.Foreign(text))
		}
	}
	for _, address := range slices.Sorted(maps.Keys(is.addresses)) {
		if is.addresses[address] > was.addresses[address] && (!limits.Local || strings.HasPrefix(address, pipe)) {
			return fmt.Errorf("%s is on the machine that Envoy runs on, where its own interfaces are: use a Backend, "+
				"if whoever runs Sluice allows it", address)
		}
	}
	if is.byHeader > was.byHeader {
		return errors.New("cluster_header would let clients choose any cluster: name the cluster")
	}
	if l, ok := after.(*listenerv3.Listener); ok {
		listener, _ := before.(*listenerv3.Listener)
		return checkSockets(listener, l, limits)
	}
	return nil
}

// pipe is what is said before the path of a Unix socket.
const pipe = "the Unix socket "

// findings are what is in a resource that a user may not be allowed to put there.
type findings struct {
	// texts are all strings, addresses those of the machine itself, and how often they are there.
	texts, addresses map[string]int
	// byHeader is how many routes go where a header says.
	byHeader int
	// validate has each message checked, and err is what is wrong with the first that is.
	validate bool
	err      error
}

func (f *findings) message(m protoreflect.Message) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			f.check(inner)
			f.message(inner.ProtoReflect())
		}
		return
	case *corev3.Pipe:
		count(&f.addresses, pipe+v.Path)
	case *corev3.SocketAddress:
		if local(v.Address) {
			count(&f.addresses, fmt.Sprintf("%s:%d", v.Address, v.GetPortValue()))
		}
	case *routev3.RouteAction:
		if v.GetClusterHeader() != "" {
			f.byHeader++
		}
	}
	_, listener := m.Interface().(*listenerv3.Listener)
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		// Where a listener listens is not where it leads: see checkSockets.
		if !listener || fd.Name() != "address" && fd.Name() != "additional_addresses" {
			f.field(fd, v)
		}
		return true
	})
}

// check notes what Envoy's API says is wrong with a message.
func (f *findings) check(m proto.Message) {
	v, ok := m.(interface{ Validate() error })
	if !ok || !f.validate || f.err != nil {
		return
	}
	if err := v.Validate(); err != nil {
		f.err = fmt.Errorf("the result is no valid %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
}

func (f *findings) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsList():
		for i := range v.List().Len() {
			f.value(fd, v.List().Get(i))
		}
	case fd.IsMap():
		v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			f.value(fd.MapValue(), value)
			return true
		})
	default:
		f.value(fd, v)
	}
}

func (f *findings) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		f.message(v.Message())
	case protoreflect.StringKind:
		count(&f.texts, v.String())
	}
}

func count(in *map[string]int, text string) {
	if *in == nil {
		*in = map[string]int{}
	}
	(*in)[text]++
}

// local reports whether an address is of the machine itself, or of its link, where clouds have their metadata.
func local(address string) bool {
	name := strings.ToLower(strings.TrimSuffix(address, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}

// checkSockets keeps a listener where it listens, and a new one from the ports of others.
func checkSockets(before, after *listenerv3.Listener, limits Limits) error {
	if before == nil {
		for _, a := range append([]*corev3.Address{after.Address}, additional(after)...) {
			port := a.GetSocketAddress().GetPortValue()
			if port == 0 {
				return errors.New("a listener needs a socket_address with a port_value")
			}
			if by := limits.Taken(port); by != "" {
				return fmt.Errorf("port %d is taken by %s", port, by)
			}
		}
		return nil
	}
	was, is := before.Address.GetSocketAddress(), after.Address.GetSocketAddress()
	if was.GetPortValue() != is.GetPortValue() || was.GetProtocol() != is.GetProtocol() ||
		len(additional(after)) > len(additional(before)) {
		return errors.New("the port of a listener is that of the Gateway: change it there")
	}
	return nil
}

func additional(l *listenerv3.Listener) []*corev3.Address {
	var out []*corev3.Address
	for _, a := range l.AdditionalAddresses {
		out = append(out, a.Address)
	}
	return out
}
