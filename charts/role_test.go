package charts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// rights are the verbs of each resource, which is written group/plural or group/plural/subresource.
type rights map[string][]string

func (r rights) add(name string, verbs ...string) {
	r[name] = slices.Compact(slices.Sorted(slices.Values(append(r[name], verbs...))))
}

// granted returns what the rules of a role grant.
func granted(t *testing.T, role object) rights {
	t.Helper()
	out := rights{}
	for _, rule := range role["rules"].([]any) {
		rule := object(rule.(map[string]any))
		for _, group := range rule["apiGroups"].([]any) {
			for _, plural := range rule["resources"].([]any) {
				for _, verb := range rule["verbs"].([]any) {
					if strings.Contains(fmt.Sprint(group, plural, verb), "*") {
						t.Errorf("%s: %v/%v/%v is a wildcard", role.name(), group, plural, verb)
					}
					out.add(fmt.Sprintf("%s/%s", group, plural), verb.(string))
				}
			}
		}
	}
	return out
}

var (
	read  = []string{"get", "list", "watch"}
	state = []string{"patch"}
)

// statusless are the kinds with a CRD whose objects have no status.
var statusless = []string{"referencegrants", "httproutefilters"}

// expected are the rights that follow from the table of kinds.
func expected(cluster bool) rights {
	out := rights{}
	for i := range resource.Kinds {
		k := &resource.Kinds[i]
		if k.Cluster != cluster {
			continue
		}
		out.add(k.Group+"/"+k.Plural, read...)
		if !k.Builtin && !slices.Contains(statusless, k.Plural) {
			out.add(k.Group+"/"+k.Plural+"/status", state...)
		}
	}
	return out
}

// TestA52Roles compares the rights with what is done with them: every kind of the table is read and its status written,
// what a fleet consists of is made, and nothing else.
func TestA52Roles(t *testing.T) {
	namespaced := expected(false)
	cluster := expected(true)
	for _, rule := range kube.Rules() {
		to := namespaced
		if slices.Contains(rule.Resources, "nodes") {
			to = cluster
		}
		for _, plural := range rule.Resources {
			to.add(rule.APIGroups[0]+"/"+plural, rule.Verbs...)
		}
	}
	cluster.add("apiextensions.k8s.io/customresourcedefinitions", "list", "watch")
	want := map[string]rights{
		"ClusterRole sluice-system.sluice-cluster":    cluster,
		"ClusterRole sluice-system.sluice-namespaced": namespaced,
		"Role sluice-own": {
			"coordination.k8s.io/leases": {"create", "get", "update"}, "/secrets": {"create", "get", "update"},
		},
	}
	got := map[string]rights{}
	for _, o := range render(t, "") {
		if o["rules"] != nil {
			got[o.kind()+" "+o.name()] = granted(t, o)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run go generate ./charts after a change of the table of kinds: %s", diff)
	}
}

// TestRolesSufficeForFleets checks that the manager of fleets is granted what it says that it needs.
func TestRolesSufficeForFleets(t *testing.T) {
	all := rights{}
	for _, o := range render(t, "") {
		if o["rules"] != nil {
			for what, verbs := range granted(t, o) {
				all.add(what, verbs...)
			}
		}
	}
	for _, rule := range kube.Rules() {
		for _, plural := range rule.Resources {
			for _, verb := range rule.Verbs {
				if what := rule.APIGroups[0] + "/" + plural; !slices.Contains(all[what], verb) {
					t.Errorf("nobody may %s %s", verb, what)
				}
			}
		}
	}
}

// TestA52RolesStayInNamespaces checks that an installation for some namespaces has no right to Secrets anywhere else.
func TestA52RolesStayInNamespaces(t *testing.T) {
	objects := render(t, "watchNamespaces: [shop]")
	everywhere := map[string]bool{}
	for _, o := range objects {
		if o.kind() == "ClusterRoleBinding" {
			everywhere[o.at("roleRef", "name").(string)] = true
		}
	}
	for _, o := range objects {
		if o.kind() != "ClusterRole" || !everywhere[o.name()] {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(granted(t, o))) {
			plural := strings.Split(name, "/")[1]
			i := slices.IndexFunc(resource.Kinds, func(k resource.Kind) bool { return k.Plural == plural })
			if plural != "customresourcedefinitions" && plural != "nodes" && (i < 0 || !resource.Kinds[i].Cluster) {
				t.Errorf("%s grants %s in all namespaces", o.name(), name)
			}
		}
	}
}
