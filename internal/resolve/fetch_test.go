package resolve

import (
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// fetching is a world with one feature: EnvoyExtensionPolicy.wasm, which has modules fetched.
func fetching(t *testing.T, manifests ...string) *pretend {
	t.Helper()
	o := shared()
	o.Fetches = true
	o.CheckAttached = func([]model.Attached) status.Report { return nil }
	o.Guards = func(string) bool { return true }
	o.References = func(a model.Attached) []Reference {
		var out []Reference
		for _, w := range a.Spec.([]egv1a1.Wasm) {
			ref := &FetchReference{Kind: model.FetchWasmImage, URL: w.Code.Image.URL, Limit: 1}
			if tls := w.Code.Image.TLS; tls != nil {
				ref.CA = SecretReference(tls.CACertificateRef)
			}
			if pull := w.Code.Image.PullSecretRef; pull != nil {
				ref.Credentials = SecretReference(*pull)
			}
			out = append(out, Reference{Path: a.Path, Fetch: ref, Optional: deref(w.FailOpen, false)})
		}
		return out
	}
	e := incr.New(2)
	store := resource.NewStore(e)
	w := &pretend{world: &world{Tables: New(e, store, o), t: t, e: e, store: store}}
	w.policed = incr.NewTable(e, "policed", func(r *incr.Reader, k model.RouteKey) (string, bool) {
		bindings, _ := incr.Get(r, w.Bindings, k)
		policed := w.Policed(r, bindings.Bound[0].Above, k, "")
		var out []string
		for _, a := range policed.Attached {
			for _, f := range a.Fetched {
				out = append(out, string(f.Data)+f.Error)
			}
		}
		return strings.Join(append(out, policed.Denied), ","), true
	}, w.Routes)
	w.apply(manifests...)
	return w
}

func (w *pretend) wanted() []string {
	var out []string
	for f := range w.Fetches.All() {
		s := f.Spec()
		out = append(out, strings.Join([]string{s.URL, s.Credentials, s.CA}, "|"))
	}
	slices.Sort(out)
	return out
}

// accepted says what the status of the policy named wasm says.
func (w *pretend) accepted() string {
	w.t.Helper()
	p, _ := w.Policies.Peek(model.Ref{Group: model.GroupEnvoyGateway, Kind: model.KindEnvoyExtensionPolicy,
		Name: inDefault("wasm")})
	if len(p.Status.Ancestors) != 1 {
		w.t.Fatalf("the policy has %d ancestors", len(p.Status.Ancestors))
	}
	c := p.Status.Ancestors[0].Conditions[0]
	return c.Reason + ": " + c.Message
}

func wasmPolicy(spec string) string {
	return `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: wasm}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  wasm:` + spec
}

const fetchGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: sluice}
spec: {controllerName: sluice.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: gw}]
  rules: [{}]
`

// TestFetch says that what a policy has fetched is waited for by its own routes, that failures are in its status, and
// that it heals.
func TestFetch(t *testing.T) {
	w := fetching(t, fetchGateway, wasmPolicy(`
  - code: {type: Image, image: {url: one}}
  - {code: {type: Image, image: {url: two}}, failOpen: true}`))
	app := http("app")
	expect := func(policed, accepted string) {
		t.Helper()
		if got, _ := w.policed.Peek(app); got != policed {
			t.Errorf("the route gets %q, want %q", got, policed)
		}
		if got := w.accepted(); !strings.HasPrefix(got, accepted) {
			t.Errorf("the status says %q, want %q", got, accepted)
		}
	}
	fetch := func(url string) model.Fetch {
		return model.NewFetch(model.FetchSpec{Kind: model.FetchWasmImage, URL: url, Limit: 1})
	}
	expect("InvalidEnvoyExtensionPolicy", "Pending: ")
	if got := w.wanted(); !slices.Equal(got, []string{"one||", "two||"}) {
		t.Errorf("wanted are %q", got)
	}
	w.Fetched.Set(fetch("one"), model.Fetched{Error: "nobody is there"})
	w.Fetched.Set(fetch("two"), model.Fetched{Error: "nobody is there"})
	w.commit()
	expect("InvalidEnvoyExtensionPolicy",
		"Invalid: spec.wasm: one cannot be fetched, and is tried again: nobody is there")
	w.Fetched.Set(fetch("one"), model.Fetched{Data: []byte("1")})
	w.commit()
	expect("1,nobody is there,", "Invalid: spec.wasm: two cannot be fetched")
	w.Fetched.Set(fetch("two"), model.Fetched{Data: []byte("2")})
	w.commit()
	expect("1,2,", "Accepted: ")
	w.delete(model.GroupGateway, model.KindHTTPRoute, "default", "app")
	if got := w.wanted(); len(got) > 0 {
		t.Errorf("nobody wants it any more, but wanted are %q", got)
	}
}

// TestA02FetchReferences says that CAs and credentials of other namespaces are used by those alone who are granted
// it.
func TestA02FetchReferences(t *testing.T) {
	const secrets = `
apiVersion: v1
kind: Secret
metadata: {name: pull, namespace: %s}
stringData: {.dockerconfigjson: "{}"}
`
	w := fetching(t, fetchGateway, strings.ReplaceAll(secrets, "%s", "other"), wasmPolicy(`
  - code: {type: Image, image: {url: one, pullSecretRef: {name: pull, namespace: other}}}`))
	expect := func(accepted string, wanted ...string) {
		t.Helper()
		if got := w.accepted(); !strings.Contains(got, accepted) {
			t.Errorf("the status says %q, want %q", got, accepted)
		}
		if got := w.wanted(); !slices.Equal(got, wanted) {
			t.Errorf("wanted are %q, want %q", got, wanted)
		}
	}
	expect("No ReferenceGrant in namespace other lets a EnvoyExtensionPolicy of namespace default use Secret/other/pull")
	w.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: grant, namespace: other}
spec:
  from: [{group: gateway.envoyproxy.io, kind: EnvoyExtensionPolicy, namespace: default}]
  to: [{group: "", kind: Secret}]
`)
	expect("is being fetched", "one|{}|")
	w.apply(wasmPolicy(`
  - code: {type: Image, image: {url: one, tls: {caCertificateRef: {name: ca, namespace: more}}}}`))
	expect("No ReferenceGrant in namespace more")
	w.apply(wasmPolicy(`
  - code: {type: Image, image: {url: one, tls: {caCertificateRef: {name: ca}}}}`))
	expect("Secret/default/ca does not exist")
	w.apply(wasmPolicy(`
  - code: {type: Image, image: {url: one, tls: {caCertificateRef: {kind: Service, name: ca}}}}`))
	expect("cannot hold CA certificates")
	w.apply(`
apiVersion: v1
kind: Secret
metadata: {name: ca}
stringData: {ca.crt: "nothing"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pull}
data: {.dockerconfigjson: "{}"}
`, wasmPolicy(`
  - code: {type: Image, image: {url: one, tls: {caCertificateRef: {name: ca}}}}`))
	expect("holds no PEM certificate")
	w.apply(strings.ReplaceAll(strings.ReplaceAll(secrets, "%s", "default"), ".dockerconfigjson", "other"), wasmPolicy(`
  - code: {type: Image, image: {url: one, pullSecretRef: {name: pull}}}`))
	expect("has no key .dockerconfigjson")
}
