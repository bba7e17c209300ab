package extension

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/envoyproxy/gateway/proto/extension"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// maxWords is the length in bytes to which what a server says is cut for statuses.
	maxWords = 512
	// timerSkew is by how much the timers of a server and a client may differ that were set to the same time.
	timerSkew = 250 * time.Millisecond
)

// failure is why a call has no answer.
type failure struct {
	code codes.Code
	// words are what the server says, or gRPC for it.
	words string
}

func (f failure) Error() string { return fmt.Sprintf("%s: %s", f.code, f.words) }

// failed makes a failure of the error of a call. At the deadline of a call its server gives it up too, and may be the
// first to say so: that it cancels the stream.
func failed(ctx context.Context, err error) error {
	s := status.Convert(err)
	if ended := s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded; ended && late(ctx) {
		return newFailure(codes.DeadlineExceeded, context.DeadlineExceeded.Error())
	}
	return newFailure(s.Code(), s.Message())
}

// late says that a deadline is over, give or take what timers differ.
func late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < timerSkew
}

func newFailure(code codes.Code, words string) error {
	if len(words) > maxWords {
		words = words[:maxWords] + "..."
	}
	return failure{code: code, words: words}
}

// unreachable returns the error if it says that the server is not there, rather than that it refuses.
func unreachable(err error) error {
	var f failure
	if errors.As(err, &f) && (f.code == codes.Unavailable || f.code == codes.DeadlineExceeded) {
		return err
	}
	return nil
}

// message is a message with the validation rules of Envoy.
type message interface {
	proto.Message
	Validate() error
}

// call makes a call once; gRPC repeats it as the policy says.
func (s *server) call(ctx context.Context, spec model.CallSpec) (model.Answer, error) {
	client, request := extension.NewEnvoyGatewayExtensionClient(s.conn), []byte(spec.Request)
	switch spec.Hook {
	case model.HookRoute:
		return ask(ctx, request, &extension.PostRouteModifyRequest{}, client.PostRouteModify, oneOf(
			(*extension.PostRouteModifyRequest).GetRoute, (*extension.PostRouteModifyResponse).GetRoute, nil))
	case model.HookVirtualHost:
		return ask(ctx, request, &extension.PostVirtualHostModifyRequest{}, client.PostVirtualHostModify, oneOf(
			(*extension.PostVirtualHostModifyRequest).GetVirtualHost,
			(*extension.PostVirtualHostModifyResponse).GetVirtualHost, nameOf))
	case model.HookHTTPListener:
		return ask(ctx, request, &extension.PostHTTPListenerModifyRequest{}, client.PostHTTPListenerModify, oneOf(
			(*extension.PostHTTPListenerModifyRequest).GetListener,
			(*extension.PostHTTPListenerModifyResponse).GetListener, nameOf))
	case model.HookCluster:
		return ask(ctx, request, &extension.PostClusterModifyRequest{}, client.PostClusterModify, oneOf(
			(*extension.PostClusterModifyRequest).GetCluster, (*extension.PostClusterModifyResponse).GetCluster, nameOf))
	case model.HookEndpoints:
		return ask(ctx, request, &extension.PostEndpointsModifyRequest{}, client.PostEndpointsModify, oneOf(
			(*extension.PostEndpointsModifyRequest).GetLoadAssignment,
			(*extension.PostEndpointsModifyResponse).GetLoadAssignment, nameOf))
	case model.HookTranslation:
		return ask(ctx, request, &extension.PostTranslateModifyRequest{}, client.PostTranslateModify, translation)
	}
	return model.Answer{}, failure{code: codes.Unimplemented, words: fmt.Sprintf("there is no hook %q", spec.Hook)}
}

// ask makes a call and has its answer judged.
func ask[Q, A proto.Message, O any](
	ctx context.Context, request []byte, q Q, method func(context.Context, Q, ...O) (A, error),
	judge func(Q, A) (model.Answer, error),
) (model.Answer, error) {
	if err := proto.Unmarshal(request, q); err != nil {
		return model.Answer{}, failure{code: codes.Internal, words: err.Error()}
	}
	a, err := method(ctx, q)
	if err != nil {
		return model.Answer{}, failed(ctx, err)
	}
	return judge(q, a)
}

// nameOf returns the name of a resource, by which Envoy knows it.
func nameOf(m proto.Message) string {
	switch r := m.(type) {
	case interface{ GetName() string }:
		return r.GetName()
	case interface{ GetClusterName() string }:
		return r.GetClusterName()
	}
	return ""
}

// oneOf judges the answer of a hook that is about one resource: it must be valid, and keep its name if it has one. An
// answer without a resource leaves it as it is.
func oneOf[Q, A proto.Message, R message](
	before func(Q) R, after func(A) R, name func(proto.Message) string,
) func(Q, A) (model.Answer, error) {
	return func(q Q, a A) (model.Answer, error) {
		asked, answered := before(q), after(a)
		if !answered.ProtoReflect().IsValid() {
			return model.Answer{}, nil
		}
		if name != nil && name(asked) != name(answered) {
			return model.Answer{}, refuse("the answer is named %q, not %q", name(answered), name(asked))
		}
		data, err := encode(answered)
		if err != nil {
			return model.Answer{}, err
		}
		if same, err := encode(asked); err == nil && bytes.Equal(same, data) {
			return model.Answer{}, nil
		}
		return model.Answer{Data: data}, nil
	}
}

// translation takes the answer of the hook for everything as it is: it is judged resource by resource by whoever knows
// what was asked.
func translation(_ *extension.PostTranslateModifyRequest, a *extension.PostTranslateModifyResponse) (
	model.Answer, error,
) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		return model.Answer{}, refuse("%v", err)
	}
	if data == nil {
		data = []byte{} // that there is nothing is an answer
	}
	return model.Answer{Data: data}, nil
}

// refuse is a failure of a server that answers what cannot be used.
func refuse(format string, args ...any) error {
	return newFailure(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

// encode returns the deterministic bytes of a message that Envoy's own rules accept.
func encode(m message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, refuse("the answer is not valid: %v", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, refuse("%v", err)
	}
	return data, nil
}
