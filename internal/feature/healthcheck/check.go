package healthcheck

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// bodied are the methods of checks that can have a body.
var bodied = []corev3.RequestMethod{corev3.RequestMethod_POST, corev3.RequestMethod_PUT}

// streams are the files that health checks may be logged to, the default first.
var streams = []string{"/dev/stdout", "/dev/stderr"}

// Check refuses what does not belong to the type, and what this version of Sluice cannot do. Two policies that are
// merged can have what the schema refuses of one.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.HealthCheck)
	var refused policy.Refusals
	percent := func(path string, n *uint32) {
		if n != nil && *n > 100 {
			refused.Add(path, "The share of %d%% is more than all: use 0 to 100", *n)
		}
	}
	percent(".panicThreshold", spec.PanicThreshold)
	if p := spec.Passive; p != nil {
		refused.Duration(".passive.interval", p.Interval, time.Millisecond)
		refused.Duration(".passive.baseEjectionTime", p.BaseEjectionTime, time.Millisecond)
		percent(".passive.failurePercentageThreshold", p.FailurePercentageThreshold)
		if n := p.MaxEjectionPercent; n != nil && (*n < 0 || *n > 100) {
			refused.Add(".passive.maxEjectionPercent", "The share of %d%% is none: use 0 to 100", *n)
		}
	}
	if spec.Active != nil {
		checkActive(&refused, spec.Active)
	}
	return refused
}

func checkActive(refused *policy.Refusals, spec *egv1a1.ActiveHealthCheck) {
	refused.Duration(".active.timeout", spec.Timeout, time.Millisecond)
	refused.Duration(".active.interval", spec.Interval, time.Millisecond)
	refused.Duration(".active.initialJitter", spec.InitialJitter, 0)
	threshold := func(path string, n *uint32) {
		if n != nil && *n == 0 {
			refused.Add(path, "The threshold is 0: use 1 or more checks")
		}
	}
	threshold(".active.unhealthyThreshold", spec.UnhealthyThreshold)
	threshold(".active.healthyThreshold", spec.HealthyThreshold)
	switch spec.Type {
	case egv1a1.ActiveHealthCheckerTypeHTTP:
		checkHTTP(refused, spec.HTTP)
	case egv1a1.ActiveHealthCheckerTypeTCP:
		if spec.TCP == nil {
			refused.Add(".active.tcp", "The type TCP needs this field: add it, empty for a mere connection")
			break
		}
		checkPayload(refused, ".active.tcp.send", spec.TCP.Send)
		checkPayload(refused, ".active.tcp.receive", spec.TCP.Receive)
	case egv1a1.ActiveHealthCheckerTypeGRPC:
	default:
		refused.Add(".active.type", "There is no type %q: use HTTP, TCP or GRPC", spec.Type)
	}
	if o := spec.Overrides; o != nil && (o.Port < 0 || o.Port > 65535) {
		refused.Add(".active.overrides.port", "The number %d is no port: use 1 to 65535", o.Port)
	}
	if l := spec.HealthCheckLog; l != nil {
		for i, sink := range l.Sinks {
			if i > 0 || sink.File == nil || !slices.Contains(streams, cmp.Or(sink.File.Path, streams[0])) {
				refused.Add(fmt.Sprintf(".active.healthCheckLog.sinks[%d]", i), "Whoever writes policies of routes is not let "+
					"write files where Envoy runs: use one sink, the file /dev/stdout or /dev/stderr")
			}
		}
	}
}

func checkHTTP(refused *policy.Refusals, spec *egv1a1.HTTPActiveHealthChecker) {
	const path = ".active.http"
	if spec == nil {
		refused.Add(path, "The type HTTP needs this field: add it with a path")
		return
	}
	if spec.Path == "" {
		refused.Add(path+".path", "The path is empty: say what to ask for, / for example")
	}
	m := method(spec)
	if spec.Method != nil && m == corev3.RequestMethod_METHOD_UNSPECIFIED || m == corev3.RequestMethod_CONNECT {
		refused.Add(path+".method", "The method %q cannot check health: use GET or HEAD, for example", *spec.Method)
	}
	if spec.RequestBody != nil && !slices.Contains(bodied, m) {
		refused.Add(path+".requestBody", "Only checks by POST and PUT have a body: set method, or remove the body")
	}
	checkPayload(refused, path+".requestBody", spec.RequestBody)
	checkPayload(refused, path+".expectedResponse", spec.ExpectedResponse)
	checkCodes(refused, path+".expectedStatuses", spec.ExpectedStatuses)
	checkCodes(refused, path+".retriableStatuses", spec.RetriableStatuses)
}

func checkCodes(refused *policy.Refusals, path string, codes []egv1a1.HTTPStatus) {
	for i, code := range codes {
		if code < 100 || code > 599 {
			refused.Add(fmt.Sprintf("%s[%d]", path, i), "The number %d is not a status code: use 100 to 599", code)
		}
	}
}

func checkPayload(refused *policy.Refusals, path string, spec *egv1a1.ActiveHealthCheckPayload) {
	if spec == nil {
		return
	}
	text := spec.Type == egv1a1.ActiveHealthCheckPayloadTypeText
	if text && policy.Or(spec.Text, "") == "" || !text && len(spec.Binary) == 0 {
		refused.Add(path, "The payload is empty: add text or binary, as type says")
	}
}
