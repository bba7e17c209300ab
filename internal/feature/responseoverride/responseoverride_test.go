package responseoverride

import (
	"regexp"
	"slices"
	"strconv"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[[]*egv1a1.ResponseOverride](t, Feature{}) }

func value(code int) egv1a1.StatusCodeMatch { return egv1a1.StatusCodeMatch{Value: &code} }

func between(start, end int) egv1a1.StatusCodeMatch {
	kind := egv1a1.StatusCodeValueTypeRange
	return egv1a1.StatusCodeMatch{Type: &kind, Range: &egv1a1.StatusCodeRange{Start: start, End: end}}
}

// TestExpression says that the expression of a list of statuses matches these and no others.
func TestExpression(t *testing.T) {
	for _, spec := range [][]egv1a1.StatusCodeMatch{
		{value(404), value(500)}, {between(100, 599)}, {between(398, 411), value(400), value(599)},
	} {
		var codes []int
		for _, s := range spec {
			first, last := span(s)
			for code := first; code <= last; code++ {
				codes = append(codes, code)
			}
		}
		expr := regexp.MustCompile("^(?:" + statusMatcher(spec).GetSafeRegex().GetRegex() + ")$")
		for code := range 1000 {
			if got := expr.MatchString(strconv.Itoa(code)); got != slices.Contains(codes, code) {
				t.Errorf("%v: %s matches %d: %v", codes, expr, code, got)
			}
		}
	}
}

// TestLocation says where a redirect leads: the port is left out where the URL does without.
func TestLocation(t *testing.T) {
	host := new(gwv1.PreciseHostname("a.example"))
	at := func(port uint16, secure bool) *feature.Route { return &feature.Route{Port: port, Secure: secure} }
	for _, tt := range []struct {
		spec  egv1a1.CustomRedirect
		route *feature.Route
		want  string
	}{
		{egv1a1.CustomRedirect{Hostname: host}, at(80, false), requestScheme + "://a.example" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host}, at(443, true), requestScheme + "://a.example" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host}, at(443, false), requestScheme + "://a.example:443" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host}, nil, requestScheme + "://a.example:%DOWNSTREAM_LOCAL_PORT%" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host, Scheme: new("https")}, at(80, false), "https://a.example" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host, Scheme: new("http"), Port: new(gwv1.PortNumber(80))}, nil,
			"http://a.example" + requestPath},
		{egv1a1.CustomRedirect{Hostname: host, Port: new(gwv1.PortNumber(80))}, nil,
			requestScheme + "://a.example:80" + requestPath},
		{egv1a1.CustomRedirect{Path: &gwv1.HTTPPathModifier{ReplaceFullPath: new("/50%")}}, nil, "/50%%"},
	} {
		if got := location(&tt.spec, tt.route); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	notFound := egv1a1.CustomResponseMatch{StatusCodes: []egv1a1.StatusCodeMatch{value(404)}}
	answered := func(r egv1a1.CustomResponse) *egv1a1.ResponseOverride {
		return &egv1a1.ResponseOverride{Match: notFound, Response: &r}
	}
	matched := func(m egv1a1.CustomResponseMatch) *egv1a1.ResponseOverride {
		return &egv1a1.ResponseOverride{Match: m, Response: &egv1a1.CustomResponse{}}
	}
	status := func(s egv1a1.StatusCodeMatch) *egv1a1.ResponseOverride {
		return matched(egv1a1.CustomResponseMatch{StatusCodes: []egv1a1.StatusCodeMatch{s}})
	}
	headed := func(name gwv1.HTTPHeaderName, kind egv1a1.StringMatchType, value string) *egv1a1.ResponseOverride {
		return matched(egv1a1.CustomResponseMatch{ResponseHeaders: []egv1a1.ResponseOverrideHeaderMatch{
			{Name: name, Value: egv1a1.StringMatch{Type: &kind, Value: value}},
		}})
	}
	sent := func(r egv1a1.CustomRedirect) *egv1a1.ResponseOverride {
		return &egv1a1.ResponseOverride{Match: notFound, Redirect: &r}
	}
	path := func(full string) *gwv1.HTTPPathModifier {
		return &gwv1.HTTPPathModifier{Type: gwv1.FullPathHTTPPathModifier, ReplaceFullPath: &full}
	}
	both := sent(egv1a1.CustomRedirect{})
	both.Response = &egv1a1.CustomResponse{}
	elsewhere := answered(egv1a1.CustomResponse{})
	elsewhere.Source = new(egv1a1.ResponseOverrideSource("Moon"))
	for _, tt := range []struct {
		spec *egv1a1.ResponseOverride
		want string
	}{
		{answered(egv1a1.CustomResponse{}), ""},
		{both, "either a response or a redirect"},
		{&egv1a1.ResponseOverride{Match: notFound}, "either a response or a redirect"},
		{elsewhere, `no source "Moon"`},
		{matched(egv1a1.CustomResponseMatch{}), "The match is empty"},
		{status(egv1a1.StatusCodeMatch{}), "The type Value needs this field"},
		{status(value(99)), "use 100 to 599"},
		{status(between(500, 400)), "use 100 to 599"},
		{status(between(500, 1<<40)), "use 100 to 599"},
		{headed(":status", "Exact", "1"), "pseudo header"},
		{headed("x-a", "Prefix", ""), "The value is empty"},
		{headed("x-a", "RegularExpression", "("), "Invalid regular expression"},
		{headed("x-a", "Moon", "a"), `no type "Moon"`},
		{answered(egv1a1.CustomResponse{StatusCode: new(199)}), "use 200 to 599"},
		{answered(egv1a1.CustomResponse{ContentType: new("a\nb")}), "Invalid content type"},
		{answered(egv1a1.CustomResponse{Body: &egv1a1.CustomResponseBody{Inline: new("%ENVIRONMENT(HOME)%")}}), "too much"},
		{answered(egv1a1.CustomResponse{Header: &gwv1.HTTPHeaderFilter{
			Set: []gwv1.HTTPHeader{{Name: "transfer-encoding", Value: "chunked"}},
		}}), "managed by Envoy"},
		{sent(egv1a1.CustomRedirect{Path: path("/a")}), ""},
		{sent(egv1a1.CustomRedirect{Path: path("//evil.example")}), "begin it with one slash"},
		{sent(egv1a1.CustomRedirect{Path: path(`/\evil.example`)}), "begin it with one slash"},
		{sent(egv1a1.CustomRedirect{Path: path("a")}), "begin it with one slash"},
		{sent(egv1a1.CustomRedirect{Path: path("/a\nb")}), "Invalid path"},
		{sent(egv1a1.CustomRedirect{}), "leads to where the request came from"},
		{sent(egv1a1.CustomRedirect{Scheme: new("https"), Path: path("/")}), "add hostname"},
		{sent(egv1a1.CustomRedirect{Port: new(gwv1.PortNumber(1)), Path: path("/")}), "add hostname"},
		{sent(egv1a1.CustomRedirect{Scheme: new("ftp"), Hostname: new(gwv1.PreciseHostname("a"))}), "use http or https"},
		{sent(egv1a1.CustomRedirect{StatusCode: new(307), Path: path("/")}), "use 301 or 302"},
	} {
		a := model.Attached{Spec: []*egv1a1.ResponseOverride{tt.spec}, Path: "spec.responseOverride"}
		featuretest.Expect(t, Feature{}.Check(a, &model.Rule{}), tt.want)
	}
}

// TestReferences says which ConfigMap belongs to which override.
func TestReferences(t *testing.T) {
	byRef := egv1a1.ResponseValueTypeValueRef
	of := func(name string) *egv1a1.ResponseOverride {
		ref := &gwv1.LocalObjectReference{Kind: model.KindConfigMap, Name: gwv1.ObjectName(name)}
		return &egv1a1.ResponseOverride{Response: &egv1a1.CustomResponse{
			Body: &egv1a1.CustomResponseBody{Type: &byRef, ValueRef: ref},
		}}
	}
	a := model.Attached{Path: "spec.responseOverride", Spec: []*egv1a1.ResponseOverride{
		{Redirect: &egv1a1.CustomRedirect{}}, of("a"), {Response: &egv1a1.CustomResponse{}}, of("b"),
	}}
	refs := Feature{}.References(a)
	if len(refs) != 2 || refs[1].Path != "spec.responseOverride[3].response.body.valueRef" || refs[1].Object.Name != "b" {
		t.Fatalf("got %+v, want those of a and b", refs)
	}
	for _, name := range []string{"a", "b"} {
		a.Objects = append(a.Objects, model.Object{Ref: model.Ref{Name: model.Name{Name: name}}})
	}
	objects := objectsOf(a)
	if len(objects[0])+len(objects[2]) > 0 || objects[1][0].Ref.Name.Name != "a" || objects[3][0].Ref.Name.Name != "b" {
		t.Errorf("got %+v", objects)
	}
}
