package e2e

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// unary is the body of a gRPC call with an empty message.
const unary = "\x00\x00\x00\x00\x00"

// call2 sends a gRPC call with headers as they are given, and returns the HTTP status and that of gRPC, "" if there is
// none; the status is "none" if the stream is reset or the connection closed.
func (in *instance) call2(t *testing.T, headers ...[2]string) (status, code string) {
	t.Helper()
	c, err := in.open2()
	if err != nil {
		t.Error(err)
		return "none", ""
	}
	defer func() { _ = c.conn.Close() }()
	err = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: c.block(headers...)})
	if err == nil {
		err = c.WriteData(1, true, []byte(unary))
	}
	if err != nil {
		return "none", ""
	}
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return "none", ""
		}
		switch f := frame.(type) {
		case *http2.GoAwayFrame: // the connection is closed a moment later
			return "none", ""
		case *http2.RSTStreamFrame:
			if status == "" {
				status = "none"
			}
			return status, code
		case *http2.MetaHeadersFrame:
			if s := f.PseudoValue("status"); s != "" {
				status = s
			}
			for _, field := range f.RegularFields() {
				if field.Name == "grpc-status" {
					code = field.Value
				}
			}
			if f.StreamEnded() {
				return status, code
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status, code
			}
		}
	}
}

// TestA37PathsOfCalls calls a method that a policy keeps people from by every path that might be taken for its own, and
// with headers that might make it no call. Nothing of it is answered by the method.
func TestA37PathsOfCalls(t *testing.T) {
	t.Parallel()
	const method = "/grpc.testing.TestService/UnaryCall"
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: gw}]
  hostnames: [calls.example]
  rules:
  - matches: [{method: {service: grpc.testing.TestService, method: EmptyCall}}]
    backendRefs: [{${one}}]
  - name: guarded
    matches: [{method: {service: grpc.testing.TestService, method: UnaryCall}}]
    backendRefs: [{${one}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: guarded}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: calls, sectionName: guarded}]
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, principal: {headers: [{name: x-user, values: [me]}]}}]
`})
	call := func(path string, more ...[2]string) [][2]string {
		return append([][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":authority", "calls.example"}, {":path", path},
			{"te", "trailers"}, {"content-type", "application/grpc"},
		}, more...)
	}
	// Envoy answers a refused call with HTTP 200 and a status of gRPC that says so.
	if status, code := in.call2(t, call(method, [2]string{"x-user", "me"})...); status != "200" || code != "0" {
		t.Fatalf("who may call it gets %s and %q", status, code)
	}
	if _, code := in.call2(t, call(method)...); code != "7" {
		t.Fatalf("who may not call it gets %q, want 7 (PermissionDenied)", code)
	}
	calls := map[string][][2]string{}
	for _, path := range []string{
		"grpc.testing.TestService/UnaryCall", "/" + method, method + "/", method + "?a", method + "#a", method + ";a",
		"/grpc.testing.TestService//UnaryCall", "/./grpc.testing.TestService/UnaryCall",
		"/x/../grpc.testing.TestService/UnaryCall", "/grpc.testing.TestService/%55naryCall",
		"/grpc.testing.TestService%2fUnaryCall", "/grpc.testing.testservice/unarycall", "/GRPC.TESTING.TESTSERVICE/UNARYCALL",
		`\grpc.testing.TestService\UnaryCall`, "/grpc.testing.TestService/EmptyCall/../UnaryCall",
		"http://calls.example" + method, "*", "", " " + method, method + " ", method + "\x00",
	} {
		calls[fmt.Sprintf("%q", path)] = call(path)
	}
	with := func(name, value string) [][2]string {
		headers := call(method)
		for i := range headers {
			if headers[i][0] == name {
				headers[i][1] = value
			}
		}
		return headers
	}
	maps.Copy(calls, map[string][][2]string{
		"no te":                 with("te", ""),
		"content type of JSON":  with("content-type", "application/grpc+json"),
		"another content type":  with("content-type", "application/grpcx"),
		"no gRPC":               with("content-type", "text/plain"),
		"upper case":            with("content-type", "APPLICATION/GRPC"),
		"GET":                   with(":method", "GET"),
		"tunnel":                with(":method", "CONNECT"),
		"another host":          with(":authority", "CALLS.example."),
		"says where it was":     call(method, [2]string{"x-envoy-original-path", "/open"}),
		"two users":             call(method, [2]string{"x-user", "you"}, [2]string{"x-user", "me"}),
		"another method header": call(method, [2]string{"x-http-method-override", "GET"}),
	})
	var all sync.WaitGroup
	for name, headers := range calls {
		all.Go(func() {
			if status, code := in.call2(t, headers...); code == "0" {
				t.Errorf("%s: it is answered with %s and %q", name, status, code)
			}
		})
	}
	all.Wait()
}
