package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
)

// processor is an external processor: it notes what it is sent, and does what headers of the request ask for.
type processor struct {
	procv3.UnimplementedExternalProcessorServer
	// delay is how long it takes for each answer.
	delay time.Duration

	mu   sync.Mutex
	seen []string
}

// serve runs a processor until the test ends and returns its port.
func (p *processor) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	procv3.RegisterExternalProcessorServer(server, p)
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) }) // it ends with Stop
	t.Cleanup(func() {
		server.Stop()
		done.Wait()
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// noted returns what the processor was sent since it was last asked, sorted by when it came.
func (p *processor) noted() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := strings.Join(p.seen, " ")
	p.seen = nil
	return out
}

// Process answers each message of a request.
func (p *processor) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(p.delay):
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := stream.Send(p.answer(in)); err != nil {
			return err
		}
	}
}

func headerOf(h *procv3.HttpHeaders, name string) string {
	for _, header := range h.GetHeaders().GetHeaders() {
		if header.GetKey() == name {
			return string(header.GetRawValue())
		}
	}
	return ""
}

// setHeader sets a header.
func setHeader(name, value string) *procv3.CommonResponse {
	return &procv3.CommonResponse{HeaderMutation: &procv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
		Header: &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
	}}}}
}

func (p *processor) answer(in *procv3.ProcessingRequest) *procv3.ProcessingResponse {
	note := ""
	out := &procv3.ProcessingResponse{}
	switch m := in.GetRequest().(type) {
	case *procv3.ProcessingRequest_RequestHeaders:
		note = "request"
		for _, attributes := range in.GetAttributes() {
			note += "(" + attributes.GetFields()["request.path"].GetStringValue() + ")"
		}
		common := setHeader("x-processed", "by "+headerOf(m.RequestHeaders, ":authority"))
		out.Response = &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{Response: common}}
		if headerOf(m.RequestHeaders, "x-deny") != "" {
			out.Response = &procv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &procv3.ImmediateResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
			}}
		}
	case *procv3.ProcessingRequest_RequestBody:
		note = fmt.Sprintf("body(%s)", m.RequestBody.GetBody())
		out.Response = &procv3.ProcessingResponse_RequestBody{RequestBody: &procv3.BodyResponse{
			Response: &procv3.CommonResponse{BodyMutation: &procv3.BodyMutation{
				Mutation: &procv3.BodyMutation_Body{Body: []byte(strings.ToUpper(string(m.RequestBody.GetBody())))},
			}},
		}}
	case *procv3.ProcessingRequest_ResponseHeaders:
		note = "response"
		out.Response = &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{
			Response: setHeader("x-answered", "yes"),
		}}
	}
	p.mu.Lock()
	p.seen = append(p.seen, note)
	p.mu.Unlock()
	return out
}

// TestExtProc has requests processed by servers that are up, slow, down and missing.
func TestExtProc(t *testing.T) {
	t.Parallel()
	fast, slow := &processor{}, &processor{delay: time.Second}
	backend := func(name, port string) string {
		return fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %s}}]}`, name, port)
	}
	to := func(name, more string) string {
		return "\n  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: " + name + "}]" + more
	}
	const both = "\n    processingMode: {request: {body: Buffered, attributes: [request.path]}, response: {}}"
	const headers = "\n    processingMode: {request: {}}"
	route := func(name, list string) string { return extendedRoute(name, "  extProc:"+list) }
	in := start(t, files{
		"servers.yaml": backend("fast", fast.serve(t)) + backend("slow", slow.serve(t)) + backend("down", "${SPARE}"),
		"routes.yaml": hostRoute("plain", "\n  - backendRefs: [{${one}}]") +
			route("whole", to("fast", both)) +
			route("nothing", to("fast", "")) +
			route("shadow", to("fast", headers+"\n    shadowMode: true")) +
			route("slow", to("slow", headers)) +
			route("patient", to("slow", headers+"\n    messageTimeout: 10s")) +
			route("down", to("down", headers+"\n    statusOnError: 503")) +
			route("open", to("down", headers+"\n    failOpen: true")+to("nowhere", headers+"\n    failOpen: true")+
				to("fast", headers)) +
			route("missing", to("fast", headers)+to("nowhere", headers)),
	})
	ask := func(host string, header ...string) request {
		return request{host: host + ".example", header: header}
	}
	in.must(t, ask("plain"), expect{backend: "one", received: []string{"x-processed:"}})
	in.must(t, ask("nothing"), expect{backend: "one", received: []string{"x-processed:"}})
	if got := fast.noted(); got != "" {
		t.Errorf("the server was sent %q of routes that ask for nothing", got)
	}
	whole := request{host: "whole.example", path: "/a", method: "POST", body: "small", header: []string{"x-processed: no"}}
	in.must(t, whole, expect{backend: "one", body: `"body":"SMALL"`,
		received: []string{"x-processed: by whole.example"}, header: []string{"x-answered: yes"}})
	if got, want := fast.noted(), "request(/a) body(small) response"; got != want {
		t.Errorf("the server was sent %q, want %q", got, want)
	}
	runChecks(t, in, map[string]check{
		"denied":   {ask("whole", "x-deny: 1"), expect{status: 403}},
		"shadow":   {ask("shadow", "x-deny: 1"), expect{backend: "one", received: []string{"x-processed:"}}},
		"too slow": {ask("slow"), expect{status: 504}},
		"slow, but in time": {ask("patient"),
			expect{backend: "one", received: []string{"x-processed: by patient.example"}}},
		"down":           {ask("down"), expect{status: 503}},
		"down, and open": {ask("open"), expect{backend: "one", received: []string{"x-processed: by open.example"}}},
		"missing":        {ask("missing"), expect{status: 500}},
	})
	in.condition(t, conditionWant{
		kind: "EnvoyExtensionPolicy", name: "default/open", condition: "Accepted=False/Invalid",
		message: "spec.extProc[1].backendRefs[0]: Backend/default/nowhere does not exist",
	})
}
