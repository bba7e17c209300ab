package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/jwt"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// tokens is a policy of its name for the route of that name: tokens with keys at a URL.
func tokens(name, url string) source.Object {
	policy := &egv1a1.SecurityPolicy{ObjectMeta: meta(name)}
	policy.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{
			Group: model.GroupGateway, Kind: model.KindHTTPRoute, Name: gwv1.ObjectName(name),
		},
	}}
	policy.Spec.JWT = &egv1a1.JWT{Providers: []egv1a1.JWTProvider{{
		Name: "issuer", RemoteJWKS: &egv1a1.RemoteJWKS{URI: url},
	}}}
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindSecurityPolicy, name), Object: policy}
}

// warning is what a status of a policy warns of; empty for nothing.
func warning(st any) string {
	policy, ok := st.(*gwv1.PolicyStatus)
	if !ok || len(policy.Ancestors) != 1 || !status.Holds(policy.Ancestors[0].Conditions, status.Accepted) {
		return "not accepted"
	}
	for _, c := range policy.Ancestors[0].Conditions {
		if c.Type == status.Warning {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// TestKeysThatChange says that keys which were fetched reach the routes that they are for, and cost nobody else
// anything: neither when they are there, nor when they change, and nothing at all when they are merely stale.
func TestKeysThatChange(t *testing.T) {
	const routes = 1000
	const url = "https://a.example/keys"
	const field = "spec.jwt.providers[0].remoteJWKS.uri: "
	const instead = "NotFetched: " + field + "Sluice cannot fetch " + url + ", and tries it again: it is away. " +
		"Until then Envoy fetches the keys itself, and again whenever routes change"
	var pushed []xds.Change
	wanted, published := map[model.Fetch]bool{}, map[model.Ref]any{}
	p := newPipeline(func(o *pipeline.Options) {
		o.Chain = feature.NewChain(jwt.Feature{})
		o.SystemCAs = "/ca.pem"
		o.Serve = func(_ model.ProxyName, c []xds.Change) uint64 { pushed = c; return 1 }
		o.Publish = func(s pipeline.Status) { published[s.Ref] = s.Status }
		o.Fetch = func(f model.Fetch, on bool) { wanted[f] = on }
	})
	policy := tokens("r7", url)
	objects := append(base(), backend("b"), policy, tokens("r8", "https://b.example/keys"))
	for i := range routes {
		objects = append(objects, route(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example", i), "/", "b"))
	}
	p.Apply(objects, nil, nil)
	if len(wanted) != 2 {
		t.Fatalf("wanted are %v", wanted)
	}
	var fetch model.Fetch
	for f := range wanted {
		if f.Spec().URL == url {
			fetch = f
		}
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	stale := model.Stale{Error: "it is away", Since: since, Until: since.Add(time.Hour)}
	for _, step := range []struct {
		what string
		got  model.Fetched
		// keys is what is in the route, pushed whether it is pushed.
		keys   string
		pushed bool
		warns  string
	}{
		{"away", model.Fetched{Error: "it is away"}, "", false, instead},
		{"there", model.Fetched{Data: []byte("key one"), SHA256: "1"}, "key one", true, ""},
		{"the same", model.Fetched{Data: []byte("key one"), SHA256: "1"}, "key one", false, ""},
		{"another", model.Fetched{Data: []byte("key two"), SHA256: "2"}, "key two", true, ""},
		{"stale", model.Fetched{Data: []byte("key two"), SHA256: "2", Stale: stale}, "key two", false,
			"Stale: " + field + url + " cannot be fetched anew: it is away. What it " +
				"held at 2026-01-02T03:04:05Z is used until 2026-01-02T04:04:05Z, and it is tried again"},
		{"too old", model.Fetched{Error: "it is away"}, "", true, instead},
	} {
		pushed = nil
		out := p.Fetched(fetch, step.got)
		if n := out.Result.Recomputed(); n > 20 {
			t.Errorf("%s: %d keys were recomputed: %+v", step.what, n, out.Result.Tables)
		}
		var want, got []string
		if step.pushed {
			want = []string{"routes http/8080 [h7.example]"}
		}
		for _, c := range pushed {
			got = append(got, fmt.Sprintf("%s %s %v", c.Type, c.Name, c.Parts))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: pushed is (-want +got):\n%s", step.what, diff)
		}
		body := contents(p)["routes http/8080"]
		if strings.Contains(body, fmt.Sprintf("%x", "key ")) != (step.keys != "") ||
			!strings.Contains(body, fmt.Sprintf("%x", step.keys)) {
			t.Errorf("%s: the keys in the route are not %q", step.what, step.keys)
		}
		if diff := cmp.Diff(step.warns, warning(published[policy.Ref])); diff != "" {
			t.Errorf("%s: it warns (-want +got):\n%s", step.what, diff)
		}
	}
	p.Apply(nil, []model.Ref{policy.Ref}, nil)
	if wanted[fetch] {
		t.Error("keys are fetched that nobody wants")
	}
}
