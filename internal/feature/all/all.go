// Package all is the chain of all features, in the order in which they act on a request.
package all

import (
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/accesslog"
	"github.com/sluice-gateway/sluice/internal/feature/admission"
	"github.com/sluice-gateway/sluice/internal/feature/apikeyauth"
	"github.com/sluice-gateway/sluice/internal/feature/authorization"
	"github.com/sluice-gateway/sluice/internal/feature/bandwidth"
	"github.com/sluice-gateway/sluice/internal/feature/basicauth"
	"github.com/sluice-gateway/sluice/internal/feature/buffer"
	"github.com/sluice-gateway/sluice/internal/feature/circuitbreaker"
	"github.com/sluice-gateway/sluice/internal/feature/clientconnection"
	"github.com/sluice-gateway/sluice/internal/feature/clientheader"
	"github.com/sluice-gateway/sluice/internal/feature/clienthttp"
	"github.com/sluice-gateway/sluice/internal/feature/clientip"
	"github.com/sluice-gateway/sluice/internal/feature/clientpath"
	"github.com/sluice-gateway/sluice/internal/feature/clienttimeout"
	"github.com/sluice-gateway/sluice/internal/feature/clienttls"
	"github.com/sluice-gateway/sluice/internal/feature/compressor"
	"github.com/sluice-gateway/sluice/internal/feature/cors"
	"github.com/sluice-gateway/sluice/internal/feature/credentialinjector"
	"github.com/sluice-gateway/sluice/internal/feature/csrf"
	"github.com/sluice-gateway/sluice/internal/feature/directresponse"
	"github.com/sluice-gateway/sluice/internal/feature/dynamicmodule"
	"github.com/sluice-gateway/sluice/internal/feature/extauth"
	"github.com/sluice-gateway/sluice/internal/feature/extproc"
	"github.com/sluice-gateway/sluice/internal/feature/fault"
	"github.com/sluice-gateway/sluice/internal/feature/grpcweb"
	"github.com/sluice-gateway/sluice/internal/feature/headermodifier"
	"github.com/sluice-gateway/sluice/internal/feature/healthcheck"
	"github.com/sluice-gateway/sluice/internal/feature/jwt"
	"github.com/sluice-gateway/sluice/internal/feature/loadbalancer"
	"github.com/sluice-gateway/sluice/internal/feature/lua"
	"github.com/sluice-gateway/sluice/internal/feature/metrics"
	"github.com/sluice-gateway/sluice/internal/feature/mirror"
	"github.com/sluice-gateway/sluice/internal/feature/oidc"
	"github.com/sluice-gateway/sluice/internal/feature/ratelimit"
	"github.com/sluice-gateway/sluice/internal/feature/redirect"
	"github.com/sluice-gateway/sluice/internal/feature/responseoverride"
	"github.com/sluice-gateway/sluice/internal/feature/retry"
	"github.com/sluice-gateway/sluice/internal/feature/retrybudget"
	"github.com/sluice-gateway/sluice/internal/feature/rewrite"
	"github.com/sluice-gateway/sluice/internal/feature/routing"
	"github.com/sluice-gateway/sluice/internal/feature/sessionpersistence"
	"github.com/sluice-gateway/sluice/internal/feature/telemetry"
	"github.com/sluice-gateway/sluice/internal/feature/timeout"
	"github.com/sluice-gateway/sluice/internal/feature/tracing"
	"github.com/sluice-gateway/sluice/internal/feature/upgrade"
	"github.com/sluice-gateway/sluice/internal/feature/upstream"
	"github.com/sluice-gateway/sluice/internal/feature/wasm"
)

// Options are what depends on how Sluice runs.
type Options struct {
	// RateLimit is how Envoys ask about global rate limits; nil refuses policies with some.
	RateLimit *RateLimit
	// Pods says that Envoys run in pods.
	Pods bool
	// Lua allows policies to bring scripts.
	Lua bool
}

// RateLimit is how Envoys ask about global rate limits. Its zero value is the default.
type RateLimit = ratelimit.Service

// Chain returns the chain of all features, with everything that they may need.
func Chain() *feature.Chain { return ChainWith(Options{RateLimit: &RateLimit{}, Lua: true}) }

// ChainWith returns the chain of all features.
func ChainWith(o Options) *feature.Chain {
	return feature.NewChain(drilled(append([]feature.Feature{
		extauth.Listener{},         // before everything: a route is chosen for what it lets in
		grpcweb.Feature{},          // all below see gRPC, and their answers become gRPC-Web again
		responseoverride.Feature{}, // sees what all others answer
		fault.Feature{},            // clients see failures whoever they are
		cors.Policy{},              // before what asks for credentials: the preflights that it answers have none
		cors.Feature{},             // what a rule says replaces what a policy says
		csrf.Feature{},             // before what begins sessions or costs more
		extauth.Policy{},           // a request has to pass both: a route cannot get by the policy of its Gateway
		extauth.Feature{},          // before all that costs more than asking
		apikeyauth.Feature{},       // those that ask for credentials are in Envoy Gateway's order
		basicauth.Feature{},
		oidc.Feature{}, // before what verifies the tokens that it gets
		jwt.Feature{},
		lua.Feature{Allowed: o.Lua}, // extensions see who it is, and can have a say in what is authorized
		extproc.Feature{},
		wasm.Feature{},
		dynamicmodule.Feature{},
		authorization.Feature{},                 // decides by what those above have found out
		ratelimit.Feature{Service: o.RateLimit}, // counts what is let in by all that cost nothing
		buffer.Feature{},                        // waits only for what is let in
		bandwidth.Feature{},                     // counts what is sent to backends and comes from there
		credentialinjector.Feature{},            // behind what could read the credential of the client
		compressor.Older{},                      // before all that could look into responses
		compressor.Feature{},
		sessionpersistence.Feature{}, // last: only requests that will be served pick an endpoint
		redirect.Feature{},           // replaces the action: those below see that nothing is forwarded
		directresponse.Feature{},     // replaces the action too
		rewrite.Feature{},            // the path and host that the backend and its mirrors see
		rewrite.Extended{},           // says what is forwarded of a host that the rewrite above replaces
		headermodifier.Request{},     // behind the rewrite, so that a Host that is set stays
		headermodifier.Response{},    // behind cors: what a user says of a CORS header is the last word
		mirror.Feature{},             // copies what the features above have made of the request
		loadbalancer.Feature{},       // behind what replaces the action: only what is forwarded is hashed
		upgrade.Feature{},            // knows nothing of what is answered here
		telemetry.Feature{},
		retry.Policy{}, // what a policy says comes before what the rule itself says
		timeout.Policy{},
		timeout.Feature{}, // before retry, which has an attempt that took too long tried again
		retry.Feature{},
		accesslog.Feature{Pods: o.Pods},
		tracing.RequestID{},
		tracing.Proxy{},          // the policy of the Gateway comes first
		tracing.Feature{},        // of listeners
		circuitbreaker.Feature{}, // before the budget that the backend's own policy sets
		retrybudget.Feature{},
		healthcheck.Feature{},
		healthcheck.Log{}, // where the policy says nothing
		metrics.Feature{},
	}, append(toBackends(), clients()...)...))...)
}

// toBackends are the features that say how to speak with backends.
func toBackends() []feature.Feature {
	return []feature.Feature{
		upstream.Connection{},
		upstream.Keepalive{},
		upstream.ClientProtocol{},
		upstream.HTTP2{}, // of whatever version the cluster speaks by now
		upstream.DNS{},
		upstream.ProxyProtocol{},
		admission.Feature{},
		routing.Proxy{},
		routing.Feature{},
	}
}

// clients are the features of listeners that say how to speak with clients.
func clients() []feature.Feature {
	return []feature.Feature{
		clienttimeout.Feature{},
		clientconnection.Feature{},
		clientconnection.Keepalive{},
		clientconnection.ProxyProtocol{},
		clientconnection.EnableProxyProtocol{}, // behind the field that it gave way to
		clientip.Feature{},
		clientpath.Feature{},
		clienttls.Feature{},
		clienthttp.HTTP1{}, // behind the duration of connections, of which it takes something back
		clienthttp.HTTP2{},
		clienthttp.HTTP3{},
		clienthttp.Scheme{},
		clienthttp.GRPC{},
		clienthttp.HealthCheck{}, // in front of the filter above
		clientheader.Feature{},   // in front of all filters
	}
}

// Supported are the features of the Gateway API that the chain answers for.
var Supported = []gwv1.FeatureName{
	"GatewayHTTPSListenerDetectMisdirectedRequests", "GatewayListenerFilters", "GRPCRouteRequestHeaderModifier",
	"HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode", "HTTPRoute308RedirectStatusCode",
	"HTTPRouteBackendRequestHeaderModification", "HTTPRouteBackendTimeout", "HTTPRouteBackendURLRewrite",
	"HTTPRouteCORS", "HTTPRouteHostRewrite", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite",
	"HTTPRoutePortRedirect", "HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors",
	"HTTPRouteRequestPercentageMirror", "HTTPRouteRequestTimeout", "HTTPRouteResponseHeaderModification",
	"HTTPRouteRetryCodes", "HTTPRouteRetryConnectionError", "HTTPRouteSchemeRedirect",
}
