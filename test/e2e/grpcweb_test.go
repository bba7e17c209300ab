package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// webFrame is what one message is on the wire, in gRPC-Web as in gRPC.
func webFrame(t *testing.T, m proto.Message) string {
	t.Helper()
	text, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))) + string(text)
}

// webCall makes a call as a browser does, and returns the messages of the answer and its trailers.
func (in *instance) webCall(t *testing.T, r request) (answer answer, messages [][]byte, trailers string) {
	t.Helper()
	answer, err := in.send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(answer.body)
	if strings.HasPrefix(answer.header.Get("content-type"), "application/grpc-web-text") {
		if body, err = base64Parts(answer.body); err != nil {
			t.Fatalf("%q is no base64: %v", answer.body, err)
		}
	}
	for len(body) >= 5 {
		n := 5 + int(binary.BigEndian.Uint32(body[1:5]))
		if n > len(body) {
			t.Fatalf("a frame of %d bytes ends after %d", n, len(body))
		}
		if body[0]&0x80 != 0 {
			trailers += string(body[5:n])
		} else {
			messages = append(messages, body[5:n])
		}
		body = body[n:]
	}
	return answer, messages, trailers
}

// base64Parts decodes texts in base64, one behind the other, each with its own padding.
func base64Parts(text string) ([]byte, error) {
	var out bytes.Buffer
	for len(text) >= 4 {
		part, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			return nil, err
		}
		out.Write(part)
		text = text[4:]
	}
	return out.Bytes(), nil
}

// TestGRPCWeb: browsers can call the services of a GRPCRoute, from pages that its policy lets in, and nothing else that
// comes by HTTP/1.1 gets to them.
func TestGRPCWeb(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{method: {service: grpc.testing.TestService}}]
    backendRefs: [{${one}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: pages}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: calls}]
  cors:
    allowOrigins: ["https://shop.example"]
    allowMethods: [POST]
    allowHeaders: [content-type, x-grpc-web, x-user-agent]
    exposeHeaders: [grpc-status, grpc-message]
  authorization:
    defaultAction: Allow
    rules: [{name: banned, action: Deny, principal: {headers: [{name: x-user, values: [banned]}]}}]
`})
	const service = "/grpc.testing.TestService/"
	call := func(method, kind, body string, header ...string) request {
		return request{method: "POST", path: service + method, body: body,
			header: append([]string{"content-type: " + kind, "x-grpc-web: 1", "origin: https://shop.example"}, header...)}
	}
	unary := webFrame(t, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hi")}})
	for kind, body := range map[string]string{
		"application/grpc-web": unary, "application/grpc-web+proto": unary,
		"application/grpc-web-text": base64.StdEncoding.EncodeToString([]byte(unary)),
	} {
		got, messages, trailers := in.webCall(t, call("UnaryCall", kind, body))
		var res testpb.SimpleResponse
		if len(messages) != 1 || proto.Unmarshal(messages[0], &res) != nil || string(res.GetPayload().GetBody()) != "hi" {
			t.Errorf("%s: the answer is %d %q", kind, got.status, got.body)
		}
		if !strings.Contains(trailers, "grpc-status:0") {
			t.Errorf("%s: the trailers are %q, want status 0", kind, trailers)
		}
		if origin := got.header.Get("access-control-allow-origin"); origin != "https://shop.example" {
			t.Errorf("%s: pages of %q may read the answer", kind, origin)
		}
	}

	sizes := []*testpb.ResponseParameters{{Size: 3}, {Size: 40000}, {Size: 1}}
	stream := webFrame(t, &testpb.StreamingOutputCallRequest{ResponseParameters: sizes})
	got, messages, trailers := in.webCall(t, call("StreamingOutputCall", "application/grpc-web+proto", stream))
	if len(messages) != len(sizes) || !strings.Contains(trailers, "grpc-status:0") {
		t.Errorf("the stream is %d, %d messages, %q", got.status, len(messages), trailers)
	}

	wrong := webFrame(t, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "no"}})
	got, _, trailers = in.webCall(t, call("UnaryCall", "application/grpc-web+proto", wrong))
	if got.header.Get("grpc-status") != "9" && !strings.Contains(trailers, "grpc-status:9") {
		t.Errorf("a status of the service is %v %q, want 9", got.header, trailers)
	}
	got, _, trailers = in.webCall(t, call("UnaryCall", "application/grpc-web+proto", unary, "x-user: banned"))
	if got.header.Get("grpc-status") != "7" && !strings.Contains(trailers, "grpc-status:7") {
		t.Errorf("who is banned gets %v %q, want PERMISSION_DENIED", got.header, trailers)
	}

	preflight := request{method: "OPTIONS", path: service + "UnaryCall", header: []string{
		"origin: https://shop.example", "access-control-request-method: POST",
		"access-control-request-headers: content-type,x-grpc-web",
	}}
	in.must(t, preflight, expect{header: []string{
		"access-control-allow-origin: https://shop.example",
		"access-control-allow-headers: content-type, x-grpc-web, x-user-agent",
	}})
	in.must(t, request{method: "POST", path: service + "UnaryCall", header: []string{"content-type: text/plain"}},
		expect{status: 404})

	in.write("policy.yaml", clientPolicy("noweb", "", "  grpc: {enableWeb: false}\n"))
	in.want(t, call("UnaryCall", "application/grpc-web+proto", unary), expect{status: 415})
}
