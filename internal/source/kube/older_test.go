package kube_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/source/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
	"github.com/sluice-gateway/sluice/test/envoygateway"
)

// TestOlderCRDs reads a route that an API server has with the CRDs of Envoy Gateway, those of an older Gateway API. Its
// session persistence is as Envoy Gateway documents it.
func TestOlderCRDs(t *testing.T) {
	const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: older, namespace: ns}
spec:
  parentRefs: [{name: gw}]
  rules: [{sessionPersistence: {sessionName: Session-A, type: Header, absoluteTimeout: 10s}}]
`
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.InstallCRDs(t)
	theirs, err := envoygateway.CRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(theirs, "\n---\n") {
		if strings.Contains(doc, "\n  name: httproutes.gateway.networking.k8s.io\n") {
			objects.Apply(t, doc)
		}
	}
	// The API server serves with the new schema a little later.
	for end := time.Now().Add(30 * time.Second); !hasSessionName(objects.Apply(t, route)); {
		if time.Now().After(end) {
			t.Fatal("not within 30 s: the API server has the older CRD")
		}
		time.Sleep(100 * time.Millisecond)
	}
	r := read(t, kube.Options{Config: server.Config(apiserver.Admin)})
	got, ok := r.objects[routeRef("older")].(*gwv1.HTTPRoute)
	if !ok || len(got.Spec.Rules) != 1 {
		t.Fatalf("it is read as %+v", got)
	}
	//lint:ignore SA1019 deprecated, but part of the API
	text, err := json.Marshal(got.Spec.Rules[0].SessionPersistence)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"type":"Header","header":{"name":"Session-A"}}`; string(text) != want {
		t.Errorf("it is read as %s, want %s", text, want)
	}
}

func hasSessionName(route *unstructured.Unstructured) bool {
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	if len(rules) != 1 {
		return false
	}
	rule, _ := rules[0].(map[string]any)
	_, found, _ := unstructured.NestedString(rule, "sessionPersistence", "sessionName")
	return found
}
