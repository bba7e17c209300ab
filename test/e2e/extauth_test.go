package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// judge is an external authorization service that tells the backend what it got to see. What it does is in the header
// x-judge: "yes", "slow", "broken", else it denies.
type judge struct {
	authv3.UnimplementedAuthorizationServer
}

// slowness is longer than any policy waits.
const slowness = 3 * time.Second

// Check answers Envoy over gRPC.
func (judge) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	seen := in.GetAttributes()
	switch seen.GetRequest().GetHttp().GetHeaders()["x-judge"] {
	case "slow":
		select {
		case <-ctx.Done():
		case <-time.After(slowness):
		}
		return nil, status.Error(codes.DeadlineExceeded, "slow")
	case "broken":
		return nil, status.Error(codes.Internal, "broken")
	case "yes":
	default:
		return &authv3.CheckResponse{Status: status.New(codes.PermissionDenied, "no").Proto()}, nil
	}
	var extensions []string
	for _, name := range slices.Sorted(maps.Keys(seen.GetContextExtensions())) {
		extensions = append(extensions, name+"="+seen.GetContextExtensions()[name])
	}
	route := ""
	resources := seen.GetRouteMetadataContext().GetFilterMetadata()["envoy-gateway"].GetFields()["resources"]
	for _, r := range resources.GetListValue().GetValues() {
		fields := r.GetStructValue().GetFields()
		route += fields["kind"].GetStringValue() + "/" + fields["namespace"].GetStringValue() + "/" +
			fields["name"].GetStringValue()
	}
	tell := func(name, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}}
	}
	return &authv3.CheckResponse{
		Status: status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				tell("x-context", strings.Join(extensions, ",")), tell("x-route", route),
				tell("x-body", seen.GetRequest().GetHttp().GetBody()),
				tell("x-saw", fmt.Sprint(seen.GetRequest().GetHttp().GetHeaders()["x-hidden"] != "")),
			},
		}},
	}, nil
}

// ServeHTTP answers Envoy over HTTP.
func (judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what is there of it
	switch r.Header.Get("x-judge") {
	case "slow":
		select {
		case <-r.Context().Done():
		case <-time.After(slowness):
		}
	case "broken":
		w.WriteHeader(http.StatusBadGateway)
	case "yes":
		w.Header().Set("x-path", r.URL.RequestURI())
		w.Header().Set("x-body", string(body))
		w.Header().Set("x-saw", fmt.Sprint(r.Header.Get("x-hidden") != ""))
		w.Header().Set("x-unasked", "1")
	default:
		http.Error(w, "not you", http.StatusTeapot)
	}
}

// serveJudge returns Backends of the judge: judge for HTTP, judge-grpc for gRPC, and down, where nobody answers.
func serveJudge(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(judge{})
	t.Cleanup(server.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer()
	authv3.RegisterAuthorizationServer(rpc, judge{})
	go func() { _ = rpc.Serve(listener) }() // until it is stopped
	t.Cleanup(rpc.Stop)
	return localBackend("judge", server.Listener.Addr(), "") + localBackend("down", nil, "") +
		localBackend("judge-grpc", listener.Addr(), "appProtocols: [gateway.envoyproxy.io/h2c], ")
}

// localBackend is a Backend of an address of this machine; nil is one where nobody answers.
func localBackend(name string, address net.Addr, more string) string {
	port := "${SPARE}"
	if address != nil {
		_, port, _ = net.SplitHostPort(address.String())
	}
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: ` + name + `}
spec: {` + more + `endpoints: [{ip: {address: 127.0.0.1, port: ` + port + `}}]}
`
}

// asking is the extAuth of a policy that asks a Backend.
func asking(protocol, backend, more string) string {
	return `
  extAuth:
    ` + protocol + `:
      backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ` + backend + `}]
` + more
}

// TestA22ServiceDoesNotAnswer asks services that answer, do not answer, are slow or broken: nobody gets by one, unless
// the policy says so itself.
func TestA22ServiceDoesNotAnswer(t *testing.T) {
	t.Parallel()
	const headers = `
      headersToBackend: [x-path, x-body, x-saw]
    headersToExtAuth: [x-judge]
    timeout: 500ms
    bodyToExtAuth: {maxRequestBytes: 8}`
	in := start(t, files{"judge.yaml": serveJudge(t) + `
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {shop: s3cret}
`, "routes.yaml": guardedRoute("http", asking("http", "judge", "      path: /auth"+headers)) +
		guardedRoute("override", asking("http", "judge", "      pathOverride: /check?a=b"+headers)) +
		guardedRoute("grpc", asking("grpc", "judge-grpc", `
    timeout: 500ms
    includeRouteMetadata: true
    contextExtensions:
    - {name: tenant, type: Value, value: shop}
    - {name: key, type: ValueRef, valueRef: {group: "", kind: Secret, name: keys, key: shop}}
    bodyToExtAuth: {maxRequestBytes: 8}`)) +
		guardedRoute("other", asking("grpc", "judge-grpc", "    headersToExtAuth: [x-judge]")) +
		guardedRoute("down", asking("http", "down", "")) +
		guardedRoute("down503", asking("grpc", "down", "    statusOnError: 503")) +
		guardedRoute("open", asking("http", "judge", `
    failOpen: true
    timeout: 500ms
    headersToExtAuth: [x-judge]`)) +
		guardedRoute("open-missing", asking("http", "nowhere", "    failOpen: true")) +
		guardedRoute("missing", asking("http", "nowhere", "")) +
		guardedRoute("two", asking("http", "judge", "    contextExtensions: [{name: a, type: Value, value: b}]"))})
	ask := func(host, does string, more ...string) request {
		return request{host: host + ".example", path: "/a?b=c", header: append(more, "x-judge: "+does)}
	}
	body := func(r request, text string) request {
		r.method, r.body = "POST", text
		return r
	}
	forged := []string{"x-path: /forged", "x-saw: forged", "x-unasked: forged", "x-hidden: 1"}
	runChecks(t, in, map[string]check{
		"denied": {ask("http", "no"), expect{status: 418, body: "not you"}},
		"allowed": {ask("http", "yes", forged...), expect{backend: "one", received: []string{
			"x-path: /auth/a?b=c", "x-saw: false", "x-unasked: forged", "x-judge: yes",
		}}},
		"body":        {body(ask("http", "yes"), "12345678"), expect{backend: "one", received: []string{"x-body: 12345678"}}},
		"large body":  {body(ask("http", "yes"), "123456789"), expect{status: 413}},
		"slow":        {ask("http", "slow"), expect{status: 403}},
		"broken":      {ask("http", "broken"), expect{status: 403}},
		"override":    {ask("override", "yes"), expect{backend: "one", received: []string{"x-path: /check?a=b"}}},
		"gRPC denied": {ask("grpc", "no"), expect{status: 403}},
		"gRPC": {body(ask("grpc", "yes", "x-hidden: 1"), "1234"), expect{backend: "one", received: []string{
			"x-context: key=s3cret,tenant=shop", "x-route: HTTPRoute/default/grpc", "x-body: 1234", "x-saw: true",
		}}},
		"gRPC slow":   {ask("grpc", "slow"), expect{status: 403}},
		"gRPC broken": {ask("grpc", "broken"), expect{status: 403}},
		"no context of others": {ask("other", "yes", "x-hidden: 1"), expect{backend: "one", received: []string{
			"x-context:", "x-route:", "x-saw: false",
		}}},
		"down":                {ask("down", "yes"), expect{status: 403}},
		"down, own status":    {ask("down503", "yes"), expect{status: 503}},
		"open, denied":        {ask("open", "no"), expect{status: 418}},
		"open, slow":          {ask("open", "slow"), expect{backend: "one"}},
		"open, broken":        {ask("open", "broken"), expect{backend: "one"}},
		"open, not valid":     {ask("open-missing", "no"), expect{backend: "one"}},
		"not valid":           {ask("missing", "yes"), expect{status: 500}},
		"what cannot be sent": {ask("two", "yes"), expect{status: 500}},
	})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/two", condition: "Accepted=False/Invalid", message: "Only a gRPC service",
	})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/open-missing", condition: "Accepted=False/Invalid", message: "nowhere",
	})
	config, err := in.get("/config")
	if err != nil || !strings.Contains(string(config), "context_extensions") {
		t.Fatalf("the configuration has no context extensions: %v", err)
	}
	if strings.Contains(string(config), "s3cret") {
		t.Error("the configuration shows a value of a Secret")
	}
}

// TestExtAuthOfGateway asks for all routes of a Gateway. A route's own service is asked as well: it does not take the
// place of the Gateway's.
func TestExtAuthOfGateway(t *testing.T) {
	t.Parallel()
	route := func(name, filters string) string {
		return `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules: [{filters: [` + filters + `], backendRefs: [{${one}}]}]
`
	}
	in := start(t, files{"judge.yaml": serveJudge(t), "policy.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: gateway}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
` + asking("grpc", "judge-grpc", `
    includeRouteMetadata: true
    contextExtensions: [{name: gateway, type: Value, value: gw}]`),
		"routes.yaml": route("plain", "") + route("own", `{type: ExternalAuth, externalAuth: {
          protocol: HTTP, backendRef: {${two}}, http: {path: /auth, allowedResponseHeaders: [x-auth-user]}}}`) +
			guardedRoute("replaced", asking("grpc", "judge-grpc", `
    contextExtensions: [{name: route, type: Value, value: r}]`))})
	yes, token := "x-judge: yes", "authorization: Bearer let-me-in"
	ask := func(host string, header ...string) request { return request{host: host + ".example", header: header} }
	runChecks(t, in, map[string]check{
		"denied": {ask("plain"), expect{status: 403}},
		"allowed": {ask("plain", yes), expect{backend: "one", received: []string{
			"x-route: HTTPRoute/default/plain", "x-context: gateway=gw",
		}}},
		"neither":          {ask("own"), expect{status: 403}},
		"the route's only": {ask("own", token), expect{status: 403}},
		"the policy's":     {ask("own", yes), expect{status: 401}},
		"both": {ask("own", yes, token), expect{backend: "one", received: []string{
			"x-auth-user: demo", "x-route: HTTPRoute/default/own",
		}}},
		"replaced": {ask("replaced", yes), expect{backend: "one", received: []string{"x-context: route=r", "x-route:"}}},
	})
}
