// Package service speaks Envoy's rate-limit protocol (envoy.service.ratelimit.v3.RateLimitService).
//
// A request is answered within a budget, whatever the store does: when it is used up, or the store has just failed
// several times, the answer is the error UNAVAILABLE, and Envoy lets the request pass or not as its filter says
// (failure_mode_deny). Each of these is counted in sluice_ratelimit_failures_total.
package service

import (
	"context"
	"errors"
	"slices"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// DefaultBudget is how long a decision waits for the store: with the way there and back it is below the 10 ms after
// which Envoy goes on without an answer.
const DefaultBudget = 7 * time.Millisecond

// Options are the settings of a [Server].
type Options struct {
	Store ratelimit.Store
	// Budget is how long a decision waits for the store; 0 stands for DefaultBudget.
	Budget time.Duration
	// Metrics counts what was decided; nil counts nothing.
	Metrics *Metrics
}

// Server is the service.
type Server struct {
	rlsv3.UnimplementedRateLimitServiceServer
	take    func(context.Context, []ratelimit.Hit, []ratelimit.Answer) error
	metrics *Metrics
}

// New returns a server that can be registered.
func New(o Options) *Server {
	if o.Budget <= 0 {
		o.Budget = DefaultBudget
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if memory, ok := o.Store.(*ratelimit.Memory); ok {
		// It neither fails nor waits: there is nothing to guard against.
		return &Server{take: memory.Take, metrics: o.Metrics}
	}
	g := &guard{store: o.Store, budget: o.Budget, now: time.Now}
	return &Server{take: g.take, metrics: o.Metrics}
}

// Register adds the service to a gRPC server made with [ServerOptions].
func (s *Server) Register(g *grpc.Server) { rlsv3.RegisterRateLimitServiceServer(g, s) }

// workers is how many goroutines handle requests without being started for each.
const workers = 64

// ServerOptions are what a gRPC server for this service needs.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.NumStreamWorkers(workers),
		// A dead Envoy is noticed, though it has nothing to say.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
}

// ShouldRateLimit answers one request of Envoy.
func (s *Server) ShouldRateLimit(
	ctx context.Context, request *rlsv3.RateLimitRequest,
) (*rlsv3.RateLimitResponse, error) {
	descriptors, err := ratelimit.ParseRequest(request)
	if err != nil {
		s.metrics.failed(reasonInvalid)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	hits, place := distinct(descriptors)
	answers := make([]ratelimit.Answer, len(hits))
	if len(hits) > 0 {
		began := time.Now()
		err := s.take(ctx, hits, answers)
		s.metrics.took(time.Since(began))
		if err != nil {
			s.metrics.failed(reason(err))
			return nil, status.Error(codes.Unavailable, err.Error())
		}
	}
	return s.respond(descriptors, answers, place, ratelimit.Refused(hits, answers)), nil
}

// distinct returns the hits of the descriptors that are counted, each counter once, and for each descriptor which of
// them is its own. What counts twice in one request costs twice.
func distinct(descriptors []ratelimit.Descriptor) (hits []ratelimit.Hit, place []int) {
	hits, place = make([]ratelimit.Hit, 0, len(descriptors)), make([]int, len(descriptors))
	for i := range descriptors {
		d := &descriptors[i]
		if !d.Counted {
			continue
		}
		place[i] = len(hits)
		for j := range hits {
			if hits[j].Key == d.Key {
				place[i] = j
				break
			}
		}
		if place[i] < len(hits) {
			hits[place[i]].Cost += d.Cost
		} else {
			hits = append(hits, d.Hit)
		}
	}
	return hits, place
}

// respond puts the answers into the form that Envoy makes x-ratelimit headers of.
func (s *Server) respond(
	descriptors []ratelimit.Descriptor, answers []ratelimit.Answer, place []int, refused bool,
) *rlsv3.RateLimitResponse {
	out := &rlsv3.RateLimitResponse{
		OverallCode: rlsv3.RateLimitResponse_OK,
		Statuses:    make([]*rlsv3.RateLimitResponse_DescriptorStatus, len(descriptors)),
	}
	if refused {
		out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT
	}
	if !refused && slices.ContainsFunc(descriptors, func(d ratelimit.Descriptor) bool { return d.Tell }) {
		out.DynamicMetadata = passed
	}
	// One allocation for what would be three for each descriptor.
	all := make([]struct {
		status rlsv3.RateLimitResponse_DescriptorStatus
		limit  rlsv3.RateLimitResponse_RateLimit
		reset  durationpb.Duration
	}, len(descriptors))
	for i := range descriptors {
		d, state := &descriptors[i], &all[i].status
		state.Code = rlsv3.RateLimitResponse_OK
		out.Statuses[i] = state
		if !d.Counted {
			continue
		}
		answer := answers[place[i]]
		s.metrics.decided(d, answer.Over)
		if answer.Over && !d.Shadow {
			state.Code = rlsv3.RateLimitResponse_OVER_LIMIT
		}
		state.CurrentLimit = &all[i].limit
		state.CurrentLimit.RequestsPerUnit, state.CurrentLimit.Unit = d.Limit.Requests, responseUnits[d.Limit.Unit]
		state.LimitRemaining = answer.Remaining
		// In whole seconds, as headers have it, and never too early.
		state.DurationUntilReset = &all[i].reset
		state.DurationUntilReset.Seconds = int64((answer.Reset + time.Second - 1) / time.Second)
	}
	return out
}

// passed is shared by all answers: nobody changes it.
var passed = &structpb.Struct{Fields: map[string]*structpb.Value{
	ratelimit.MetadataPassed: structpb.NewStringValue("true"),
}}

var responseUnits = [...]rlsv3.RateLimitResponse_RateLimit_Unit{
	ratelimit.Second: rlsv3.RateLimitResponse_RateLimit_SECOND,
	ratelimit.Minute: rlsv3.RateLimitResponse_RateLimit_MINUTE,
	ratelimit.Hour:   rlsv3.RateLimitResponse_RateLimit_HOUR,
	ratelimit.Day:    rlsv3.RateLimitResponse_RateLimit_DAY,
	ratelimit.Week:   rlsv3.RateLimitResponse_RateLimit_WEEK,
	ratelimit.Month:  rlsv3.RateLimitResponse_RateLimit_MONTH,
	ratelimit.Year:   rlsv3.RateLimitResponse_RateLimit_YEAR,
}

func reason(err error) string {
	switch {
	case errors.Is(err, errAway):
		return reasonAway
	case errors.Is(err, context.DeadlineExceeded):
		return reasonSlow
	case errors.Is(err, context.Canceled):
		return reasonGone
	}
	return reasonStore
}
