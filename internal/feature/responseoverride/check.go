package responseoverride

import (
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/body"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// The statuses that a response can have, and those that can be answered with.
const (
	lowestStatus, lowestAnswer, highestStatus = 100, 200, 599
)

// Check refuses matches that nothing meets, and what Envoy cannot answer with.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	objects := objectsOf(a)
	for i, o := range a.Spec.([]*egv1a1.ResponseOverride) {
		at := fmt.Sprintf("[%d]", i)
		checkMatch(&refused, at+".match", &o.Match)
		switch source := policy.Or(o.Source, egv1a1.ResponseOverrideSourceAll); source {
		case egv1a1.ResponseOverrideSourceAll, egv1a1.ResponseOverrideSourceLocal, egv1a1.ResponseOverrideSourceBackend:
		default:
			refused.Add(at+".source", "There is no source %q: use All, Local or Backend", source)
		}
		switch {
		case (o.Response == nil) == (o.Redirect == nil):
			refused.Add(at, "An override has either a response or a redirect: write one of them")
		case o.Response != nil:
			checkResponse(&refused, at+".response", o.Response, objects[i])
		default:
			checkRedirect(&refused, at+".redirect", o.Redirect)
		}
	}
	return refused
}

func checkMatch(refused *policy.Refusals, at string, spec *egv1a1.CustomResponseMatch) {
	if len(spec.StatusCodes)+len(spec.ResponseHeaders) == 0 {
		refused.Add(at, "The match is empty: add statusCodes or responseHeaders")
	}
	for i, s := range spec.StatusCodes {
		checkStatusMatch(refused, fmt.Sprintf("%s.statusCodes[%d]", at, i), s)
	}
	for i, h := range spec.ResponseHeaders {
		path := fmt.Sprintf("%s.responseHeaders[%d]", at, i)
		if err := header.CheckName(string(h.Name)); err != nil {
			refused.Add(path+".name", "Invalid header: %v", err)
		}
		switch kind := policy.Or(h.Value.Type, egv1a1.StringMatchExact); kind {
		case egv1a1.StringMatchExact:
		case egv1a1.StringMatchPrefix, egv1a1.StringMatchSuffix:
			if h.Value.Value == "" {
				refused.Add(path+".value.value", "The value is empty: say what to compare with")
			}
		case egv1a1.StringMatchRegularExpression:
			if err := resolve.CheckRegex(h.Value.Value); err != nil {
				refused.Add(path+".value.value", "Invalid regular expression: %v", err)
			}
		default:
			refused.Add(path+".value.type", "There is no type %q: use Exact, Prefix, Suffix or RegularExpression", kind)
		}
	}
}

func checkStatusMatch(refused *policy.Refusals, at string, s egv1a1.StatusCodeMatch) {
	switch kind := policy.Or(s.Type, egv1a1.StatusCodeValueTypeValue); {
	case kind == egv1a1.StatusCodeValueTypeValue && s.Value == nil:
		refused.Add(at+".value", "The type Value needs this field: add it")
		return
	case kind == egv1a1.StatusCodeValueTypeRange && s.Range == nil:
		refused.Add(at+".range", "The type Range needs this field: add it")
		return
	case kind != egv1a1.StatusCodeValueTypeValue && kind != egv1a1.StatusCodeValueTypeRange:
		refused.Add(at+".type", "There is no type %q: use Value or Range", kind)
		return
	}
	if first, last := span(s); first < lowestStatus || last > highestStatus || first > last {
		refused.Add(at, "No response has a status of %d to %d: use %d to %d", first, last, lowestStatus, highestStatus)
	}
}

func checkResponse(refused *policy.Refusals, at string, spec *egv1a1.CustomResponse, objects []model.Object) {
	if n := spec.StatusCode; n != nil && (*n < lowestAnswer || *n > highestStatus) {
		refused.Add(at+".statusCode", "The status code %d cannot be answered with: use %d to %d", *n, lowestAnswer,
			highestStatus)
	}
	if spec.ContentType != nil {
		if err := header.CheckValue(*spec.ContentType); err != nil {
			refused.Add(at+".contentType", "Invalid content type: %v", err)
		}
	}
	if message := body.Check(spec.Body, objects); message != "" {
		refused.Add(at+".body", "%s", message)
	}
	if spec.Header == nil {
		return
	}
	if len(spec.Header.Remove) > 0 {
		refused.Add(at+".header.remove", "Headers cannot be removed here: the answer has none of the response that it "+
			"replaces")
	}
	for _, p := range header.Check(&gwv1.HTTPHeaderFilter{Set: spec.Header.Set, Add: spec.Header.Add}, header.NoHost) {
		refused.Add(at+".header"+p.Path, "%s", p.Message)
	}
}
