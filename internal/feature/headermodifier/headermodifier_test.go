package headermodifier

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPHeaderFilter](t, Request{})
}

func TestResponseUsesResponseHeaders(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	Response{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPHeaderFilter{
		Set: headers("a", "1"), Add: headers("b", "2%"), Remove: []string{"C"},
	}})
	var got []string
	for _, h := range r.Proto.GetResponseHeadersToAdd() {
		got = append(got, h.GetAppendAction().String()+" "+h.GetHeader().GetKey()+": "+h.GetHeader().GetValue())
	}
	want := []string{"OVERWRITE_IF_EXISTS_OR_ADD a: 1", "APPEND_IF_EXISTS_OR_ADD b: 2%%"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"c"}, r.Proto.GetResponseHeadersToRemove()); diff != "" {
		t.Error(diff)
	}
	if len(r.Proto.GetRequestHeadersToAdd())+len(r.Proto.GetRequestHeadersToRemove()) > 0 {
		t.Errorf("request headers are changed: %v", r.Proto)
	}
}

// Envoy removes before it adds, so the order of two filters has to be kept by taking back.
func TestLaterFilterWins(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	for _, spec := range []*gwv1.HTTPHeaderFilter{
		{Set: headers("set", "first", "gone", "x"), Add: headers("both", "1")},
		{Set: headers("SET", "second"), Add: headers("both", "2"), Remove: []string{"Gone"}},
	} {
		Request{}.ApplyRoute(r, model.Attached{Spec: spec})
	}
	var got []string
	for _, h := range r.Proto.GetRequestHeadersToAdd() {
		got = append(got, h.GetHeader().GetKey()+"="+h.GetHeader().GetValue())
	}
	if diff := cmp.Diff([]string{"both=1", "SET=second", "both=2"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"gone"}, r.Proto.GetRequestHeadersToRemove()); diff != "" {
		t.Error(diff)
	}
}

func TestCheck(t *testing.T) {
	host := gwv1.PreciseHostname("other.test")
	rewrite := &model.Rule{Attached: []model.Attached{
		{Feature: "URLRewrite", Spec: &gwv1.HTTPURLRewriteFilter{Hostname: &host}},
	}}
	plain := &model.Rule{}
	tests := []struct {
		name     string
		spec     gwv1.HTTPHeaderFilter
		rule     *model.Rule
		request  string // part of the only message of Request, empty: accepted
		response string
	}{
		{"fine", gwv1.HTTPHeaderFilter{Set: headers("a", "100%"), Remove: []string{"b"}}, plain, "", ""},
		{"host set", gwv1.HTTPHeaderFilter{Set: headers("Host", "a.test:8080")}, plain, "", "no meaning"},
		{"host bad", gwv1.HTTPHeaderFilter{Set: headers("Host", "a/b")}, plain, "not a host", "no meaning"},
		{"host twice", gwv1.HTTPHeaderFilter{Set: headers("host", "a.test")}, rewrite, "URLRewrite", "no meaning"},
		{"host added", gwv1.HTTPHeaderFilter{Add: headers("host", "a.test")}, plain, "can only be set", "no meaning"},
		{"host removed", gwv1.HTTPHeaderFilter{Remove: []string{"host"}}, plain, "can only be set", "no meaning"},
		{"pseudo", gwv1.HTTPHeaderFilter{Set: headers(":path", "/")}, plain, "pseudo header", "pseudo header"},
		{"framing", gwv1.HTTPHeaderFilter{Set: headers("content-length", "5")}, plain, "managed", "managed"},
		{"name", gwv1.HTTPHeaderFilter{Remove: []string{"a b"}}, plain, "not a header name", "not a header name"},
		{"value", gwv1.HTTPHeaderFilter{Add: headers("a", "b\nc: d")}, plain, "control", "control"},
		{"twice", gwv1.HTTPHeaderFilter{Set: headers("a", "1"), Remove: []string{"A"}}, plain, "more than", "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := model.Attached{Spec: &tt.spec}
			featuretest.Expect(t, Request{}.Check(a, tt.rule), tt.request)
			featuretest.Expect(t, Response{}.Check(a, tt.rule), tt.response)
		})
	}
}

// headers returns headers from names and values that alternate.
func headers(pairs ...string) []gwv1.HTTPHeader {
	var out []gwv1.HTTPHeader
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, gwv1.HTTPHeader{Name: gwv1.HTTPHeaderName(pairs[i]), Value: pairs[i+1]})
	}
	return out
}
