package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// serviceDrills are those of services that have a say in requests.
var serviceDrills = []drill{
	{id: "F36", fault: "the services of external authorization and processing are killed, hang, and are slow",
		promise: "who depends on them gets 403 or 5xx, never 200, or 200 if they may be passed over, within the timeout " +
			"and 1 s; 0 requests of others fail; all is well within 2 s of their return",
		run: servicesFail},
}

// processor is an external processor that changes nothing.
type processor struct {
	procv3.UnimplementedExternalProcessorServer
}

// Process lets each request pass.
func (processor) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = stream.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestHeaders{
			RequestHeaders: &procv3.HeadersResponse{},
		}})
		if err != nil {
			return err
		}
	}
}

// process serves a processor until the drill ends, behind a pipe.
func (f *field) process() (*pipe, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	procv3.RegisterExternalProcessorServer(server, processor{})
	go func() { _ = server.Serve(l) }() // it ends with Stop
	f.cleanup(server.Stop)
	return f.pipe(l.Addr().(*net.TCPAddr).Port)
}

// policed is a route to the backend one for the host NAME.example, with a policy.
func policed(kind, name, spec string) string {
	return route(name, name+".example", to("one")) + fmt.Sprintf(`---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: %s
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s}]
  %s
`, kind, name, name, spec)
}

// serviceTimeout is what the policies wait for a service.
const serviceTimeout = 500 * time.Millisecond

// serviceRoutes are routes that depend on the services, with and without them.
func serviceRoutes() string {
	auth := "extAuth: {timeout: 500ms, http: {path: /auth, backendRefs: [" + ref("judge") + "]}%s}"
	proc := "extProc: [{backendRefs: [" + ref("processor") + "], messageTimeout: 500ms, " +
		"processingMode: {request: {}}%s}]"
	const open = ", failOpen: true"
	return strings.Join([]string{
		policed("SecurityPolicy", "auth-closed", fmt.Sprintf(auth, "")),
		policed("SecurityPolicy", "auth-open", fmt.Sprintf(auth, open)),
		policed("EnvoyExtensionPolicy", "proc-closed", fmt.Sprintf(proc, "")),
		policed("EnvoyExtensionPolicy", "proc-open", fmt.Sprintf(proc, open)),
	}, "---\n")
}

// credentials are what the echo server lets in at /auth/.
func credentials() map[string]string { return map[string]string{"authorization": "Bearer let-me-in"} }

func servicesFail(ctx context.Context, f *field) (string, error) {
	judge, err := f.pipe(f.backends["two"].Port())
	if err != nil {
		return "", err
	}
	process, err := f.process()
	if err != nil {
		return "", err
	}
	in, err := f.start(ctx, map[string]string{
		"services.yaml": backend("judge", judge.port) + "---\n" + backend("processor", process.port),
		"guarded.yaml":  serviceRoutes(), "plain.yaml": route("plain", "plain.example", to("one")),
	})
	if err != nil {
		return "", err
	}
	names := []string{"auth-closed", "auth-open", "proc-closed", "proc-open"}
	back := func() (slowest time.Duration, err error) {
		for _, name := range names {
			took, err := in.becomes(ctx, name+".example", credentials(), 200)
			if err != nil {
				return 0, err
			}
			slowest = max(slowest, took)
		}
		return slowest, nil
	}
	if _, err := back(); err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), "plain.example")
	closed, open, healed := tally{}, tally{}, time.Duration(0)
	for _, o := range outages(2 * time.Second) {
		for at, p := range []*pipe{judge, process} {
			err := p.during(ctx, o, func(ctx context.Context) error {
				shut, err := in.asked(ctx, f.outageLength(), names[2*at]+".example", credentials())
				if err != nil {
					return err
				}
				passed, err := in.asked(ctx, f.outageLength(), names[2*at+1]+".example", credentials())
				closed, open = closed.add(shut), open.add(passed)
				return err
			})
			if err != nil {
				return "", err
			}
		}
		took, err := back()
		if err != nil {
			return "", err
		}
		healed = max(healed, took)
	}
	return judgeServices(closed, open, healed, unharmed(stop(), 200))
}

// outageLength is how long a service is away for one kind of client.
func (f *field) outageLength() time.Duration {
	return time.Duration(f.size(1200, 5000)) * time.Millisecond
}

// judgeServices says what was seen of services that failed.
func judgeServices(closed, open tally, healed time.Duration, others error) (string, error) {
	late := serviceTimeout + time.Second
	seen := fmt.Sprintf("closed: %v within %v; open: %v within %v; back within %v", closed,
		closed.slowest.Round(time.Millisecond), open, open.slowest.Round(time.Millisecond), healed.Round(time.Millisecond))
	switch {
	case closed.other(403, 500, 502, 503, 504) > 0:
		return seen, broken("a route that is closed gave another answer")
	case open.other(200) > 0:
		return seen, broken("a route that is open did not pass")
	case closed.slowest > late || open.slowest > late:
		return seen, broken("an answer took %v", max(closed.slowest, open.slowest))
	case healed > 2*time.Second:
		return seen, broken("it took %v to be well again", healed)
	}
	return seen, others
}
