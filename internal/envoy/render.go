package envoy

import (
	"encoding/json"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/xds"
)

// messages are the types of the resources.
var messages = map[xds.Type]func() proto.Message{
	xds.Cluster:   func() proto.Message { return &clusterv3.Cluster{} },
	xds.Endpoints: func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
	xds.Secret:    func() proto.Message { return &tlsv3.Secret{} },
	xds.Listener:  func() proto.Message { return &listenerv3.Listener{} },
	xds.Routes:    func() proto.Message { return &routev3.RouteConfiguration{} },
}

// Message returns a resource as the message that Envoy gets. It fails only for bytes that Sluice did not make.
func Message(t xds.Type, r *xds.Resource) (proto.Message, error) {
	body := r.Body
	if parts := r.Parts.Sorted(); len(parts) > 0 {
		body = slices.Clone(body)
		for _, p := range parts {
			body = append(body, p.Body...)
		}
	}
	m := messages[t]()
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%s %s: %w", t, r.Name, err)
	}
	return m, nil
}

// Render returns a resource as JSON for people, with the field names of Envoy's documentation. Private keys, passwords
// and the like are left out.
func Render(t xds.Type, r *xds.Resource) (json.RawMessage, error) {
	m, err := Message(t, r)
	if err != nil {
		return nil, err
	}
	redact(m.ProtoReflect())
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", t, r.Name, err)
	}
	return b, nil
}
