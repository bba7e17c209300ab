package resource

import (
	"encoding/json"
	"testing"
)

// TestRemains checks what is left of objects that cannot be read: the targets of what guards requests, nothing of what
// does not.
func TestRemains(t *testing.T) {
	const (
		envoy = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: "
		meta  = "\nmetadata: {name: a, labels: {x: z}}\nspec:\n"
		ref   = "{group: gateway.networking.k8s.io, kind: Gateway, name: gw}"
		refs  = "  targetRefs: [" + ref + "]\n"
		wrong = "  nonsense: {a: b}\n"
	)
	for name, c := range map[string]struct{ text, left string }{
		"unknown field": {envoy + "SecurityPolicy" + meta + refs + wrong,
			`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"gw"}]}`},
		"old target": {envoy + "SecurityPolicy" + meta + "  targetRef: " + ref + "\n  jwt: 3\n",
			`{"targetRef":{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"gw"}}`},
		"extensions": {envoy + "EnvoyExtensionPolicy" + meta + "  targetSelectors: [{kind: Gateway}]\n" + wrong,
			`{"targetSelectors":[{"group":"gateway.networking.k8s.io","kind":"Gateway"}]}`},
		"rate limit": {envoy + "BackendTrafficPolicy" + meta + refs + "  rateLimit: {type: Some}\n",
			`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"gw"}]}`},
		"no rate limit":   {envoy + "BackendTrafficPolicy" + meta + refs + "  retry: {numRetries: x}\n", ""},
		"good":            {envoy + "SecurityPolicy" + meta + refs, ""},
		"unclear targets": {envoy + "SecurityPolicy" + meta + "  targetRefs: {a: b}\n", ""},
		"no name":         {envoy + "SecurityPolicy\nmetadata: {}\nspec:\n" + refs + wrong, ""},
		"no policy":       {envoy + "Backend" + meta + wrong, ""},
		"no spec":         {envoy + "SecurityPolicy\nmetadata: {name: a}\nspec: 3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all := decodeFile("x.yaml", []byte(c.text))
			if len(all) != 1 || len(all[0].Problems) == 0 != (name == "good") {
				t.Fatalf("got %+v", all)
			}
			left := all[0].Remains
			if left == nil {
				if c.left != "" {
					t.Fatalf("nothing is left, want %s", c.left)
				}
				return
			}
			text, err := json.Marshal(left)
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Spec json.RawMessage `json:"spec"`
			}
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Spec) != c.left || !Unreadable(left) || left.GetName() != "a" || left.GetNamespace() != "default" {
				t.Errorf("left is %s, want %s", text, c.left)
			}
		})
	}
}
