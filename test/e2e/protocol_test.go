package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestGRPC(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: gw}]
  hostnames: [grpc.example]
  rules:
  - matches: [{method: {service: grpc.testing.TestService}}]
    backendRefs: [{${one}}]
  - matches: [{method: {service: grpc.testing.TestService, method: UnaryCall}, headers: [{name: x-beta, value: "1"}]}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-added, value: beta}]}}
    backendRefs: [{${two}}]
  - matches: [{method: {type: RegularExpression, service: "grpc[.]health[.].*", method: "Che.*"}}]
    backendRefs: [{${three}}]
`})
	conn, err := grpc.NewClient("passthrough:"+in.address("HTTP"), grpc.WithAuthority("grpc.example"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := testpb.NewTestServiceClient(conn)

	t.Run("unary", func(t *testing.T) {
		res, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hi")}})
		if err != nil || res.GetServerId() != "one" || string(res.GetPayload().GetBody()) != "hi" {
			t.Errorf("got %v, %v", res, err)
		}
	})
	t.Run("by header", func(t *testing.T) {
		var header metadata.MD
		res, err := client.UnaryCall(metadata.AppendToOutgoingContext(ctx, "x-beta", "1"), &testpb.SimpleRequest{},
			grpc.Header(&header))
		if err != nil || res.GetServerId() != "two" {
			t.Errorf("got %v, %v", res, err)
		}
		if got := header.Get("echo-x-added"); len(got) != 1 || got[0] != "beta" {
			t.Errorf("the backend received x-added %v, want beta", got)
		}
	})
	t.Run("status", func(t *testing.T) {
		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "no"}})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("got %v, want FailedPrecondition", err)
		}
	})
	t.Run("stream", func(t *testing.T) { checkDuplex(ctx, t, client) })
	t.Run("regex", func(t *testing.T) {
		res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("got %v, %v", res, err)
		}
	})
	t.Run("no route", func(t *testing.T) {
		stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, want Unimplemented", err)
		}
	})
}

// checkDuplex sends messages on a stream, each after the answer to the one before.
func checkDuplex(ctx context.Context, t *testing.T, client testpb.TestServiceClient) {
	t.Helper()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		body := fmt.Sprintf("message %d", i)
		err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(body)}})
		if err != nil {
			t.Fatal(err)
		}
		res, err := stream.Recv()
		if err != nil || string(res.GetPayload().GetBody()) != body {
			t.Fatalf("got %v, %v", res, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

// dialWebSocket opens a WebSocket through the gateway.
func (in *instance) dialWebSocket(host string) (*websocket.Conn, error) {
	config, err := websocket.NewConfig("ws://"+host+"/ws", "http://"+host)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", in.address("HTTP"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		_ = conn.Close()
	}
	return ws, err
}

func sayHello(ws *websocket.Conn, message string) error {
	if err := websocket.Message.Send(ws, message); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	var got string
	if err := websocket.Message.Receive(ws, &got); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if got != message {
		return fmt.Errorf("got %q, want %q", got, message)
	}
	return nil
}

// TestWebSocket checks that a WebSocket works, also to backends that say that they speak it, and that it outlives
// changes of other routes and of its own.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"route.yaml": route("plain", "[plain.example]", [2]string{"plain", `[{path: {value: /ws}}]`}),
		"marked.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: marked}
spec:
  parentRefs: [{name: gw}]
  hostnames: [marked.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ws}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: ws}
spec:
  appProtocols: [gateway.envoyproxy.io/ws]
  endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}}}]
`,
	})
	for _, host := range []string{"plain.example", "marked.example"} {
		ws, err := in.dialWebSocket(host)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		defer func() { _ = ws.Close() }()
		if err := sayHello(ws, "first"); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		in.write("new-"+host+".yaml", route("new", "[new-"+host+"]", [2]string{"new", `[{path: {value: /}}]`}))
		in.want(t, request{host: "new-" + host}, expect{backend: "one"})
		if err := sayHello(ws, strings.Repeat("long ", 10_000)); err != nil {
			t.Errorf("%s, after a change: %v", host, err)
		}
	}
}

// TestBackendProtocol checks what arrives at backends by the protocol that they say they speak.
func TestBackendProtocol(t *testing.T) {
	t.Parallel()
	backend := func(name, protocols string) string {
		return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: ` + name + `}
spec:
  appProtocols: ` + protocols + `
  endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_one}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ` + name + `}]}]
`
	}
	service := func(name, protocol string) string {
		return `
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `}
spec: {ports: [{name: web, port: 80, ` + protocol + `}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ` + name + `-a, labels: {kubernetes.io/service-name: ` + name + `}}
addressType: IPv4
ports: [{name: web, port: ${PORT_one}}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules: [{backendRefs: [{name: ` + name + `, port: 80}]}]
`
	}
	in := start(t, files{"routes.yaml": backend("backend-http", "[]") +
		backend("backend-h2c", "[gateway.envoyproxy.io/h2c]") +
		service("service-http", "appProtocol: http") + service("service-none", "protocol: TCP") +
		service("service-h2c", "appProtocol: kubernetes.io/h2c") +
		service("service-ws", "appProtocol: kubernetes.io/ws")})
	for name, proto := range map[string]string{
		"backend-http": "HTTP/1.1", "backend-h2c": "HTTP/2.0", "service-http": "HTTP/1.1", "service-none": "HTTP/1.1",
		"service-h2c": "HTTP/2.0", "service-ws": "HTTP/1.1",
	} {
		for _, client := range []string{"h1", "h2c"} {
			t.Run(name+" from "+client, func(t *testing.T) {
				in.must(t, request{host: name + ".example", proto: client}, expect{backend: "one", proto: proto})
			})
		}
	}
}
