package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// sinkDrills are those of where access logs and traces go.
var sinkDrills = []drill{
	{id: "F38", fault: "the collector of access logs and traces is down, hangs, and is slow; the disk of a log is full",
		promise: "0 requests fail, Envoy grows by 100 MiB at most, and what is reported arrives within 10 s of its return",
		run:     sinksFail},
}

// collector takes whatever is reported, and counts the reports.
type collector struct{ reports atomic.Int64 }

func (c *collector) take(_ any, stream grpc.ServerStream) error {
	for {
		err := stream.RecvMsg(&emptypb.Empty{}) // all fields are unknown to it
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.reports.Add(1)
		if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
			return err
		}
	}
}

// collect serves a collector until the drill ends, behind a pipe.
func (f *field) collect() (*collector, *pipe, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c := &collector{}
	server := grpc.NewServer(grpc.UnknownServiceHandler(c.take))
	go func() { _ = server.Serve(l) }() // it ends with Stop
	f.cleanup(server.Stop)
	p, err := f.pipe(l.Addr().(*net.TCPAddr).Port)
	return c, p, err
}

// reporting is an EnvoyProxy that reports each request in three ways.
const reporting = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: reporting}
spec:
  telemetry:
    accessLog:
      settings:
      - format: {type: Text, text: "%REQ(:AUTHORITY)% %RESPONSE_CODE%"}
        sinks:
        - {type: File, file: {path: /dev/full}}
        - {type: OpenTelemetry, openTelemetry: {backendRefs: [BACKEND]}}
    tracing: {provider: {type: OpenTelemetry, backendRefs: [BACKEND]}}
`

func sinksFail(ctx context.Context, f *field) (string, error) {
	c, p, err := f.collect()
	if err != nil {
		return "", err
	}
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	const parameters = "  infrastructure: {parametersRef: " +
		"{group: gateway.envoyproxy.io, kind: EnvoyProxy, name: reporting}}\n"
	reported := strings.Replace(gateway(in.port), "  listeners:", parameters+"  listeners:", 1)
	err = errors.Join(in.write("gateway.yaml", reported),
		in.write("plain.yaml", route("plain", "plain.example", to("one"))),
		in.write("collector.yaml", backend("collector", p.port)),
		in.write("reporting.yaml", strings.ReplaceAll(reporting, "BACKEND", ref("collector"))), in.run(ctx))
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "plain.example", "/", 200); err != nil {
		return "", err
	}
	if _, err := c.arrive(ctx); err != nil {
		return "", fmt.Errorf("nothing is reported while all is well: %w", err)
	}
	before, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(500, 2000)), "plain.example")
	healed := time.Duration(0)
	for _, o := range outages(2 * time.Second) {
		err := p.during(ctx, o, func(ctx context.Context) error { return pause(ctx, 2*f.outageLength()) })
		if err != nil {
			return "", err
		}
		took, err := c.arrive(ctx)
		if err != nil {
			return "", err
		}
		healed = max(healed, took)
	}
	peak, err := peakOf(ctx, in.envoyPID)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%v; Envoy from %d to at most %.0f MiB; reports arrive within %v", result, before.envoy, peak,
		healed.Round(time.Millisecond))
	switch {
	case int(peak) > before.envoy+100:
		return seen, broken("Envoy has grown")
	case healed > 10*time.Second:
		return seen, broken("it took %v until something was reported", healed)
	}
	return seen, unharmed(result, 500)
}

// arrive waits until something more is reported, and returns how long that took.
func (c *collector) arrive(ctx context.Context) (time.Duration, error) {
	before, began := c.reports.Load(), time.Now()
	err := eventually(ctx, patience, func() error {
		if c.reports.Load() == before {
			return errors.New("nothing is reported")
		}
		return nil
	})
	return time.Since(began), err
}
