package resource

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

func TestBackendRefs(t *testing.T) {
	service := func(namespace, name string, port uint16) BackendRef {
		to := model.Ref{Kind: model.KindService, Name: model.Name{Namespace: namespace, Name: name}}
		return BackendRef{To: to, Port: port}
	}
	backend := BackendRef{To: model.Ref{
		Group: model.GroupEnvoyGateway, Kind: model.KindBackend, Name: model.Name{Namespace: "ns", Name: "b"},
	}}
	stream := []BackendRef{service("ns", "a", 1), service("ns", "b", 2)}
	const streamSpec = `{rules: [{backendRefs: [{name: a, port: 1}, {name: b, port: 2}]}]}`
	tests := []struct {
		kind, spec string
		want       []BackendRef
	}{
		{"HTTPRoute", `{rules: [
  {filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}}},
      {type: ExternalAuth, externalAuth: {protocol: HTTP, http: {path: /}, backendRef: {name: x, port: 2}}}],
    backendRefs: [{name: a, namespace: other, port: 3, filters: [
      {type: RequestMirror, requestMirror: {backendRef: {name: o, port: 4}}}]}]},
  {backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}]}`,
			[]BackendRef{
				service("ns", "m", 1), service("ns", "x", 2), service("other", "a", 3), service("ns", "o", 4), backend,
			}},
		{"GRPCRoute", `{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}}}],
  backendRefs: [{name: a, port: 2, filters: [
    {type: RequestMirror, requestMirror: {backendRef: {name: o, port: 3}}}]}]}]}`,
			[]BackendRef{service("ns", "m", 1), service("ns", "a", 2), service("ns", "o", 3)}},
		{"TLSRoute", `{hostnames: [h.example.com], ` + streamSpec[1:], stream},
		{"TCPRoute", streamSpec, stream},
		{"UDPRoute", streamSpec, stream},
		{"Gateway", `{gatewayClassName: c, listeners: [{name: l, port: 80, protocol: HTTP}]}`, nil},
	}
	for _, test := range tests {
		out := decodeFile("r.yaml", []byte("apiVersion: gateway.networking.k8s.io/v1\nkind: "+test.kind+
			"\nmetadata: {name: r, namespace: ns}\nspec: "+test.spec))
		if len(out) != 1 || out[0].Object == nil {
			t.Errorf("%s is not decoded: %+v", test.kind, out)
			continue
		}
		if diff := cmp.Diff(test.want, BackendRefs(out[0].Object)); diff != "" {
			t.Errorf("%s: %s", test.kind, diff)
		}
	}
	if got := BackendRefs(nil); got != nil {
		t.Errorf("nothing refers to %v", got)
	}
}

func TestGrants(t *testing.T) {
	name := gwv1.ObjectName("only")
	g := &gwv1.ReferenceGrant{Spec: gwv1.ReferenceGrantSpec{
		From: []gwv1.ReferenceGrantFrom{{Group: model.GroupGateway, Kind: model.KindHTTPRoute, Namespace: "from"}},
		To:   []gwv1.ReferenceGrantTo{{Kind: model.KindService}, {Kind: model.KindSecret, Name: &name}},
	}}
	g.Namespace = "to"
	grants := map[Grant]bool{}
	for _, grant := range Grants(g) {
		grants[grant] = true
	}
	ref := func(group, kind, namespace, name string) model.Ref {
		return model.Ref{Group: group, Kind: kind, Name: model.Name{Namespace: namespace, Name: name}}
	}
	route := ref(model.GroupGateway, model.KindHTTPRoute, "from", "r")
	tests := []struct {
		from, to model.Ref
		want     bool
	}{
		{route, ref("", model.KindService, "to", "any"), true},
		{route, ref("", model.KindSecret, "to", "only"), true},
		{route, ref("", model.KindSecret, "to", "other"), false},
		{route, ref("", model.KindService, "elsewhere", "any"), false},
		{route, ref("g", model.KindService, "to", "any"), false},
		{ref(model.GroupGateway, model.KindGRPCRoute, "from", "r"), ref("", model.KindService, "to", "any"), false},
		{ref(model.GroupGateway, model.KindHTTPRoute, "else", "r"), ref("", model.KindService, "to", "any"), false},
	}
	for _, test := range tests {
		permitting := Permitting(test.from, test.to)
		if got := grants[permitting[0]] || grants[permitting[1]]; got != test.want {
			t.Errorf("%s to %s: %v, want %v", test.from, test.to, got, test.want)
		}
	}
}
