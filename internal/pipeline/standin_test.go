package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// btp is a version of a BackendTrafficPolicy of a route or a Gateway: it has requests retried so many times.
func btp(name, kind, target string, generation int64) source.Object {
	o := &egv1a1.BackendTrafficPolicy{}
	o.Namespace, o.Name, o.Generation, o.UID = "ns", name, generation, "1"
	o.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{
			Group: model.GroupGateway, Kind: gwv1.Kind(kind), Name: gwv1.ObjectName(target),
		},
	}}
	o.Spec.Retry = &egv1a1.Retry{NumRetries: ptr(int32(generation))}
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, name), Object: o}
}

func withFeatures(o *pipeline.Options) { o.Chain = all.Chain() }

// policies are two replicas with an Envoy each, and two routes with policies that are live.
func policies(t *testing.T) (leader, other *replica) {
	t.Helper()
	leader, other = newReplica("leader", withFeatures), newReplica("other", withFeatures)
	for _, r := range []*replica{leader, other} {
		r.Apply(append(base(), backend("b"), route("r", "h.example.com", "/r", "b"), route("s", "s.example.com", "/s", "b"),
			btp("p", model.KindHTTPRoute, "r", 1), btp("q", model.KindHTTPRoute, "s", 1)), nil, nil)
		r.connect()
		r.ack()
	}
	leader.tell(other)
	other.tell(leader)
	return leader, other
}

// says checks what the status of a policy says, and for which generation.
func (r *replica) says(t *testing.T, policy, want string, generation int64) {
	t.Helper()
	st := r.statuses[policy]
	if text := fmt.Sprintf("%+v", st.Status); !strings.Contains(text, want) || st.Generation != generation ||
		want == "" && strings.Contains(text, "no such thing") {
		t.Errorf("at the %s the status of %s is of generation %d, want %d with %q: %s",
			r.name, policy, st.Generation, generation, want, text)
	}
}

// TestRefusedPolicyStandsBack has Envoy refuse an edit of a policy: the version before is in force at all replicas and
// the edit of another one is not hurt, until the policy is something else.
func TestRefusedPolicyStandsBack(t *testing.T) {
	leader, other := policies(t)
	want := contents(leader.Pipeline)
	for _, r := range []*replica{leader, other} {
		r.Apply([]source.Object{btp("p", model.KindHTTPRoute, "r", 2)}, nil, nil)
	}
	if fmt.Sprint(contents(leader.Pipeline)) == fmt.Sprint(want) {
		t.Fatal("the policy has no effect")
	}
	out := leader.nack(t, xds.Routes, "h.example.com")
	if len(out.Issues) != 1 || out.Issues[0].Object.Kind != model.KindBackendTrafficPolicy {
		t.Errorf("what is said of it is %v", out.Issues)
	}
	leader.ack()
	leader.tell(other)
	const words = "the version before it stays in force: no such thing"
	for _, r := range []*replica{leader, other} {
		if got := contents(r.Pipeline); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the %s does not serve the version before", r.name)
		}
		r.says(t, "p", words, 2)
		r.Apply([]source.Object{btp("q", model.KindHTTPRoute, "s", 2)}, nil, nil)
		r.ack()
		r.says(t, "q", "", 2)
		r.says(t, "p", words, 2)
		if got := r.Issues(); len(got) != 1 {
			t.Errorf("the issues at the %s are %v", r.name, got)
		}
	}
	// One that is refused after it is not mistaken for a good one.
	leader.Apply([]source.Object{btp("p", model.KindHTTPRoute, "r", 3)}, nil, nil)
	leader.says(t, "p", "", 3)
	leader.nack(t, xds.Routes, "h.example.com")
	leader.ack()
	leader.says(t, "p", words, 3)
	mended := leader.Apply([]source.Object{btp("p", model.KindHTTPRoute, "r", 4)}, nil, nil)
	leader.ack()
	leader.says(t, "p", "", 4)
	if len(mended.Fixed) != 1 || len(leader.Issues()) != 0 {
		t.Errorf("once it is mended %v is said to be, and %v is left", mended.Fixed, leader.Issues())
	}
}

// TestRefusedPolicyAmongOthers has several policies of one Gateway and a route change at once. Only one of them is what
// Envoy refuses, and only that one stands back.
func TestRefusedPolicyAmongOthers(t *testing.T) {
	for _, guilty := range []string{"p", "q", "r"} {
		t.Run(guilty, func(t *testing.T) {
			f := &fakeEnvoy{known: map[uint64]bool{}, serving: map[string]*xds.Part{}}
			statuses := map[string]pipeline.Status{}
			f.p = newPipeline(func(o *pipeline.Options) {
				withFeatures(o)
				o.Serve = f.serve
				o.Publish = func(s pipeline.Status) { statuses[s.Ref.Name.Name] = s }
			})
			// The numbers of retries tell which version of which policy a host has.
			f.refuses = map[string]string{"p": "\x12\x02\x08\x02", "q": "\x12\x02\x08\x03", "r": "/bad"}[guilty]
			q := func(retries int32) source.Object {
				o := btp("q", model.KindHTTPRoute, "r2", int64(retries))
				o.Object.(*egv1a1.BackendTrafficPolicy).Spec.Retry.NumRetries = ptr(retries)
				return o
			}
			f.p.Apply(append(base(), backend("b"), route("r", "h.example.com", "/r", "b"),
				route("r2", "h.example.com", "/r2", "b"), btp("p", model.KindHTTPRoute, "r", 1), q(1)), nil, nil)
			f.settle(t)
			f.p.Apply([]source.Object{
				btp("p", model.KindHTTPRoute, "r", 2), q(3), route("r", "h.example.com", "/bad", "b"),
			}, nil, nil)
			f.settle(t)
			for _, name := range []string{"p", "q", "r"} {
				text := fmt.Sprintf("%+v", statuses[name].Status)
				if refused := strings.Contains(text, "no such thing"); refused != (name == guilty) {
					t.Errorf("%s is refused: %v: %s", name, refused, text)
				}
			}
			if f.refused == 0 {
				t.Error("Envoy refused nothing")
			}
		})
	}
}

// TestRefusedPolicyOfAGateway has Envoy refuse what policies of a Gateway put around the hosts: the version before
// stays, and where there was none its requests are not served without it.
func TestRefusedPolicyOfAGateway(t *testing.T) {
	for name, was := range map[string]bool{"there was one": true, "it is new": false} {
		t.Run(name, func(t *testing.T) {
			r := newReplica("leader", withFeatures)
			objects := append(base(), backend("b"), route("r", "h.example.com", "/r", "b"))
			if was {
				objects = append(objects, btp("p", model.KindGateway, "gw", 1))
			}
			r.Apply(objects, nil, nil)
			r.connect()
			r.ack()
			before := fmt.Sprint(contents(r.Pipeline))
			limited := btp("p", model.KindGateway, "gw", 2)
			limited.Object.(*egv1a1.BackendTrafficPolicy).Spec.FaultInjection = &egv1a1.FaultInjection{
				Abort: &egv1a1.FaultInjectionAbort{HTTPStatus: ptr(int32(503)), Percentage: ptr(float32(1))},
			}
			r.Apply([]source.Object{limited}, nil, nil)
			r.nack(t, xds.Routes, "")
			r.ack()
			after := fmt.Sprint(contents(r.Pipeline))
			if was {
				r.says(t, "p", "the version before it stays in force: no such thing", 2)
				if after != before {
					t.Error("it is not")
				}
				return
			}
			r.says(t, "p", "are answered with 500: no such thing", 2)
			if after == before {
				t.Error("they are served without it")
			}
		})
	}
}
