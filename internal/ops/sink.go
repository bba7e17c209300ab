package ops

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// Sink is an OpenTelemetry collector that metrics are pushed to as OTLP, without TLS.
type Sink struct {
	// Address is host:port.
	Address string
	// HTTP has it pushed to /v1/metrics over HTTP; otherwise it is over gRPC.
	HTTP bool
	// Interval is how long after one push the next begins, Timeout what one may take; 0 is a minute, and 30 seconds.
	Interval, Timeout time.Duration
}

// Push pushes what a process gathers until the context ends, and once more then. That a push fails is logged when it
// begins, and when it is over; what is missed is not repeated, because metrics are sums since the start.
func (s Sink) Push(ctx context.Context, from prometheus.Gatherer, process Process, log *slog.Logger) error {
	send, stop, err := s.sender()
	if err != nil {
		return err
	}
	defer stop()
	failing := false
	timeout := cmp.Or(s.Timeout, 30*time.Second)
	push := func(ctx context.Context, timeout time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		request, err := process.export(from, time.Now())
		if err == nil {
			err = send(ctx, request)
		}
		switch {
		case err != nil && !failing:
			log.Warn("Metrics cannot be pushed; trying again", "to", s.Address, "error", err)
		case err == nil && failing:
			log.Info("Metrics are pushed again", "to", s.Address)
		}
		failing = err != nil
	}
	timer := time.NewTicker(cmp.Or(s.Interval, time.Minute))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			// The last minute is the one that somebody may want to know about.
			push(context.WithoutCancel(ctx), min(timeout, lastPush))
			return nil
		case <-timer.C:
			push(ctx, timeout)
		}
	}
}

// lastPush is what the push at the end may take: somebody waits for the process to be gone.
const lastPush = 2 * time.Second

// sending sends a request.
type sending func(context.Context, *collectorv1.ExportMetricsServiceRequest) error

// sender returns the function that sends a request, and one that ends its connections.
func (s Sink) sender() (send sending, stop func(), err error) {
	if s.HTTP {
		client := &http.Client{}
		return func(ctx context.Context, request *collectorv1.ExportMetricsServiceRequest) error {
			return post(ctx, client, "http://"+s.Address+"/v1/metrics", request)
		}, client.CloseIdleConnections, nil
	}
	conn, err := grpc.NewClient(s.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("metrics to %s: %w", s.Address, err)
	}
	client := collectorv1.NewMetricsServiceClient(conn)
	return func(ctx context.Context, request *collectorv1.ExportMetricsServiceRequest) error {
		_, err := client.Export(ctx, request)
		return err //nolint:wrapcheck // the caller says what it is about
	}, func() { _ = conn.Close() }, nil
}

// maxAnswer is how much of a collector's answer is read.
const maxAnswer = 4 << 10

func post(ctx context.Context, client *http.Client, url string, message proto.Message) error {
	body, err := proto.Marshal(message)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what it is about
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := client.Do(request)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // read, so that the connection is used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	return nil
}
