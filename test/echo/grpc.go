package echo

import (
	"context"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// newGRPC returns the gRPC side of a server: the interoperability TestService (UnaryCall and FullDuplexCall), the
// standard health service, and Envoy's external authorization, which allows "Authorization: Bearer let-me-in".
func newGRPC(name string) *grpc.Server {
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, &testService{name: name})
	healthpb.RegisterHealthServer(s, health.NewServer())
	authv3.RegisterAuthorizationServer(s, authService{})
	return s
}

// testService answers calls with the server's name as server_id.
type testService struct {
	testpb.UnimplementedTestServiceServer
	name string
}

// UnaryCall answers with the request's payload, or fails with the status that the request asks for. Metadata x-NAME is
// sent back as echo-x-NAME.
func (s *testService) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if err := grpc.SetHeader(ctx, echoMetadata(ctx)); err != nil {
		return nil, err
	}
	if want := in.GetResponseStatus(); want.GetCode() != 0 {
		return nil, status.Error(codes.Code(want.GetCode()), want.GetMessage())
	}
	return &testpb.SimpleResponse{Payload: in.GetPayload(), ServerId: s.name}, nil
}

// FullDuplexCall answers each message with its payload.
func (s *testService) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: in.GetPayload()}); err != nil {
			return err
		}
	}
}

// StreamingOutputCall answers with a message of each size that is asked for.
func (s *testService) StreamingOutputCall(
	in *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer,
) error {
	for _, p := range in.GetResponseParameters() {
		payload := &testpb.Payload{Body: make([]byte, p.GetSize())}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload}); err != nil {
			return err
		}
	}
	return nil
}

func echoMetadata(ctx context.Context) metadata.MD {
	out := metadata.MD{}
	in, _ := metadata.FromIncomingContext(ctx)
	for name, values := range in {
		if strings.HasPrefix(name, "x-") {
			out["echo-"+name] = slices.Clone(values)
		}
	}
	return out
}

// authService is an external authorization server for Envoy.
type authService struct {
	authv3.UnimplementedAuthorizationServer
}

// Check allows requests with the right bearer token, and tells the backend who it was in x-auth-user.
func (authService) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	headers := in.GetAttributes().GetRequest().GetHttp().GetHeaders()
	if headers["authorization"] != "Bearer let-me-in" {
		return &authv3.CheckResponse{
			Status: status.New(codes.Unauthenticated, "").Proto(),
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
				Body:   "send Authorization: Bearer let-me-in\n",
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{
				Header: &corev3.HeaderValue{Key: "x-auth-user", Value: "demo"},
			}},
		}},
	}, nil
}
