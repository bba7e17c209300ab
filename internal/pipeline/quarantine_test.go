package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
)

// buggy is a feature of routes that panics when it checks or makes one: where says what it does.
type buggy struct {
	name  string
	where func(a model.Attached) string
}

func (b buggy) Name() string { return b.name }

func (b buggy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	if b.where(a) == "check" {
		panic("a bug in the check")
	}
	return nil
}

func (b buggy) ApplyRoute(r *feature.Route, a model.Attached) {
	if b.where(a) == "apply" {
		panic("a bug in the mapping")
	}
	r.Proto.ResponseHeadersToRemove = append(r.Proto.ResponseHeadersToRemove, "x-"+b.where(a))
}

// quarantineWorld is a pipeline with a buggy filter and a buggy policy, and the statuses that it has published.
type quarantineWorld struct {
	*pipeline.Pipeline
	statuses map[string]any
}

func newQuarantineWorld() *quarantineWorld {
	w := &quarantineWorld{statuses: map[string]any{}}
	w.Pipeline = newPipeline(func(o *pipeline.Options) {
		o.Chain = feature.NewChain(
			buggy{"ResponseHeaderModifier", func(a model.Attached) string { return a.Spec.(*gwv1.HTTPHeaderFilter).Remove[0] }},
			buggy{"SecurityPolicy.cors", func(a model.Attached) string { return a.Spec.(*egv1a1.CORS).AllowHeaders[0] }},
		)
		o.Publish = func(s pipeline.Status) { w.statuses[s.Ref.Name.Name] = s.Status }
	})
	return w
}

// filtered is a route to a backend with the buggy filter.
func filtered(name, where string) source.Object {
	o := route(name, "h.example.com", "/"+name, "b")
	o.Object.(*gwv1.HTTPRoute).Spec.Rules[0].Filters = []gwv1.HTTPRouteFilter{{
		Type:                   gwv1.HTTPRouteFilterResponseHeaderModifier,
		ResponseHeaderModifier: &gwv1.HTTPHeaderFilter{Remove: []string{where}},
	}}
	return o
}

// guarded is the buggy policy of a route.
func guarded(route, where string) source.Object {
	p := &egv1a1.SecurityPolicy{ObjectMeta: meta("policy")}
	p.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{
			Group: model.GroupGateway, Kind: model.KindHTTPRoute, Name: gwv1.ObjectName(route),
		},
	}}
	p.Spec.CORS = &egv1a1.CORS{AllowHeaders: []string{where}}
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindSecurityPolicy, "policy"), Object: p}
}

// apply puts an object in and returns how many faults that had.
func (w *quarantineWorld) apply(objects ...source.Object) pipeline.Outcome {
	return w.Apply(objects, nil, nil)
}

// served is the virtual host of all routes.
func (w *quarantineWorld) served(t *testing.T) string {
	t.Helper()
	for name, text := range contents(w.Pipeline) {
		if strings.HasPrefix(name, "routes ") {
			return text
		}
	}
	t.Fatal("there are no routes")
	return ""
}

// has says whether a route of the virtual host removes a header.
func (w *quarantineWorld) has(t *testing.T, where string) bool {
	t.Helper()
	return strings.Contains(w.served(t), fmt.Sprintf("%x", "x-"+where))
}

// says returns what the status of an object says in a condition that is False.
func (w *quarantineWorld) says(object string) string {
	out := ""
	status.EachCondition(w.statuses[object], func(_ string, c *metav1.Condition) {
		if c.Status == "False" && c.Reason == status.ReasonInternalError {
			out = c.Type + ": " + c.Message
		}
	})
	return out
}

// TestPanicOfARoute has a route panic that was good, and one that is new, in each place, beside one that stays good.
func TestPanicOfARoute(t *testing.T) {
	for _, where := range []string{"check", "apply"} {
		t.Run(where, func(t *testing.T) {
			w := newQuarantineWorld()
			w.apply(append(base(), backend("b"), filtered("good", "one"), filtered("other", "two"))...)
			out := w.apply(filtered("good", where))
			if len(out.Result.Faults) != 1 || len(out.Issues) != 1 || !w.has(t, "one") {
				t.Fatalf("%d faults, issues %v; the version before is served: %v", len(out.Result.Faults), out.Issues,
					w.has(t, "one"))
			}
			if got := w.says("good"); !strings.HasPrefix(got, "Programmed: ") || !strings.Contains(got, "version before") {
				t.Errorf("its status says %q", got)
			}
			w.apply(filtered("new", where))
			if got := w.says("new"); !strings.Contains(got, "a bug in Sluice") {
				t.Errorf("the status of a new route says %q", got)
			}
			if got := w.Issues(); len(got) != 2 {
				t.Errorf("issues %v, want one of each route", got)
			}
			if w.apply(filtered("other", "three")); !w.has(t, "three") || w.says("other") != "" {
				t.Error("another route of the host does not go on")
			}
			out = w.apply(filtered("good", "four"), filtered("new", "five"))
			if len(out.Fixed) != 2 || len(w.Issues()) != 0 || !w.has(t, "four") || !w.has(t, "five") {
				t.Errorf("mended: fixed %v, issues %v", out.Fixed, w.Issues())
			}
			if w.says("good") != "" || w.says("new") != "" {
				t.Errorf("the statuses still say %q and %q", w.says("good"), w.says("new"))
			}
		})
	}
}

// TestPanicOfAPolicyIsClosed has a policy panic: one that is new closes its route, the version before of one that is
// not stays in force.
func TestPanicOfAPolicyIsClosed(t *testing.T) {
	for _, where := range []string{"check", "apply"} {
		t.Run(where, func(t *testing.T) {
			w := newQuarantineWorld()
			w.apply(append(base(), backend("b"), filtered("r", "one"))...)
			open := w.served(t)
			w.apply(guarded("r", where))
			// Either the filter that denies all is in front, or the answer is 500 and there is nothing else.
			if now := w.served(t); now == open || w.has(t, "one") && !strings.Contains(now, fmt.Sprintf("%x", "deny")) {
				t.Error("the route is served without its policy")
			}
			if w.says("r") == "" && w.says("policy") == "" {
				t.Error("no status says why")
			}
			if w.apply(guarded("r", "two")); !w.has(t, "one") || !w.has(t, "two") || len(w.Issues()) != 0 {
				t.Errorf("mended, but not served with both: %v", w.Issues())
			}
			if w.apply(guarded("r", where)); !w.has(t, "two") {
				t.Error("the version before of the policy is not in force")
			}
			if w.Apply(nil, []model.Ref{refOf(model.GroupEnvoyGateway, model.KindSecurityPolicy, "policy")}, nil); w.has(
				t, "two") || !w.has(t, "one") || len(w.Issues()) != 0 {
				t.Errorf("the policy is gone, and is still there: %v", w.Issues())
			}
		})
	}
}
