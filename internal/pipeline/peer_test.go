package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// replica is a pipeline of several that hear each other when the test says so.
type replica struct {
	*pipeline.Pipeline
	name     string
	version  uint64
	updates  []xds.Change
	said     []peer.Statement
	statuses map[string]pipeline.Status
}

func newReplica(name string, change ...func(*pipeline.Options)) *replica {
	r := &replica{name: name, statuses: map[string]pipeline.Status{}}
	r.Pipeline = newPipeline(func(o *pipeline.Options) {
		for _, c := range change {
			c(o)
		}
		o.Serve = func(_ model.ProxyName, changes []xds.Change) uint64 {
			r.version++
			r.updates = append(r.updates, changes...)
			return r.version
		}
		o.Say = func(st peer.Statement) { r.said = append(r.said, st) }
		o.Publish = func(s pipeline.Status) { r.statuses[s.Ref.Name.Name] = s }
		o.Build = "1"
	})
	return r
}

// tell has another replica hear what this one has said since.
func (r *replica) tell(other *replica) {
	said := r.said
	r.said = nil
	other.Heard(peer.Report{From: r.name, Build: "1", Statements: said})
}

// connect has an Envoy connect.
func (r *replica) connect() {
	r.Observe(xds.Event{Kind: xds.Connected, Proxy: proxy})
}

// ack has all Envoys ACK everything.
func (r *replica) ack() {
	r.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: r.version})
}

// nack has an Envoy refuse the newest version of a resource, or of the host of a route table.
func (r *replica) nack(t *testing.T, typ xds.Type, host string) pipeline.Outcome {
	t.Helper()
	for i := len(r.updates) - 1; i >= 0; i-- {
		c := r.updates[i]
		if c.Type != typ || c.Resource == nil {
			continue
		}
		e := xds.Event{
			Kind: xds.Rejected, Proxy: proxy, Type: typ, Resource: c.Name, Hash: c.Resource.Hash,
			Owners: c.Resource.Owners, Message: "no such thing",
		}
		for part := range c.Resource.Parts.All() {
			if part.Name == host {
				e.Part, e.Hash, e.Owners = part.Name, part.Hash, part.Owners
			}
		}
		return r.Observe(e)
	}
	t.Fatalf("no %s was ever served", typ)
	return pipeline.Outcome{}
}

// listener returns the Programmed condition of the Gateway's listener.
func (r *replica) listener() string {
	st, ok := r.statuses["gw"].Status.(*gwv1.GatewayStatus)
	if !ok || len(st.Listeners) == 0 {
		return "none"
	}
	for _, c := range st.Listeners[0].Conditions {
		if c.Type == string(gwv1.ListenerConditionProgrammed) {
			return fmt.Sprint(c.Status, " ", c.Message)
		}
	}
	return "none"
}

func (r *replica) want(t *testing.T, when, want string) {
	t.Helper()
	if got := r.listener(); !strings.HasPrefix(got, want) {
		t.Errorf("%s, Programmed is %q at %s, want %s", when, got, r.name, want)
	}
}

// two replicas have read the same objects.
func two(objects ...source.Object) (leader, other *replica) {
	leader, other = newReplica("leader"), newReplica("other")
	for _, r := range []*replica{leader, other} {
		r.Apply(append(base(), objects...), nil, nil)
	}
	return leader, other
}

func TestProgrammedByTheEnvoysOfAnotherReplica(t *testing.T) {
	leader, other := two()
	other.tell(leader)
	leader.want(t, "before there is any Envoy", "False")
	other.connect()
	other.tell(leader)
	leader.want(t, "while the Envoy has nothing", "False")
	other.ack()
	other.tell(leader)
	leader.want(t, "once the Envoy has it", "True")

	edited := base()[1]
	edited.Object.(*gwv1.Gateway).Spec.Listeners[0].Hostname = ptr(gwv1.Hostname("a.example.com"))
	edited.Object.(*gwv1.Gateway).Generation = 2
	leader.Apply([]source.Object{edited}, nil, nil)
	leader.want(t, "after an edit that the other has not seen", "False")
	other.Apply([]source.Object{edited}, nil, nil)
	other.tell(leader)
	leader.want(t, "after an edit", "False")
	other.ack()
	other.tell(leader)
	leader.want(t, "once the Envoy has the edit", "True")

	leader.Heard(peer.Report{From: "other", Whole: true})
	leader.connect()
	leader.want(t, "after the other is away, and its Envoy here", "True")

	third := newReplica("third")
	third.Apply(append(base()[:1], edited), nil, nil)
	third.want(t, "at a replica that is new", "False")
	leader.tell(third)
	third.want(t, "after what the leader said", "True")
}

func TestProgrammedWaitsForTheEnvoysOfAllReplicas(t *testing.T) {
	leader, other := two()
	leader.connect()
	other.connect()
	other.tell(leader)
	leader.ack()
	leader.want(t, "while the other's Envoys are behind", "False")
	other.ack()
	other.tell(leader)
	leader.want(t, "once all have it", "True")

	leader, other = two()
	leader.connect()
	other.connect()
	other.ack()
	other.tell(leader)
	leader.want(t, "while the own Envoys are behind", "False")
	leader.Observe(xds.Event{Kind: xds.Disconnected, Proxy: proxy})
	leader.want(t, "once there are none here", "True")
	leader.connect()
	leader.want(t, "when a new one connects", "True")

	leader, other = two()
	other.connect()
	leader.connect()
	other.tell(leader)
	leader.ack()
	leader.Heard(peer.Report{From: "other", Whole: true})
	leader.want(t, "once the replica that was behind is away", "True")
}

func TestWhatAnotherReplicasEnvoyRefuses(t *testing.T) {
	leader, other := two()
	other.connect()
	other.nack(t, xds.Listener, "")
	other.ack()
	other.tell(leader)
	leader.want(t, "when the listener is refused", "False Envoy refused the listener: no such thing")
	leader.Heard(peer.Report{From: "other", Whole: true})
	leader.want(t, "after the other is away", "False Envoy refused the listener: no such thing")

	// Refused is a version, not the listener.
	leader, other = two()
	edited := base()[1]
	edited.Object.(*gwv1.Gateway).Spec.Listeners[0].Port = 8081
	leader.Apply([]source.Object{edited}, nil, nil)
	other.connect()
	other.nack(t, xds.Listener, "")
	other.tell(leader)
	if got := leader.listener(); strings.Contains(got, "refused") {
		t.Errorf("the leader, which has another version, says %q", got)
	}
}

// A route that is refused at one replica stands back at all, and its last good version is served by all.
func TestRouteRefusedAtAnotherReplica(t *testing.T) {
	for name, late := range map[string]bool{"after it is known here": false, "before it is known here": true} {
		t.Run(name, func(t *testing.T) {
			first := []source.Object{
				backend("b"), route("r", "h.example.com", "/first", "b"), route("s", "h.example.com", "/s", "b"),
			}
			leader, other := two(first...)
			other.connect()
			other.ack()
			other.tell(leader)
			bad := route("r", "h.example.com", "/bad", "b")
			bad.Object.(*gwv1.HTTPRoute).Generation = 2
			if !late {
				leader.Apply([]source.Object{bad}, nil, nil)
			}
			other.Apply([]source.Object{bad}, nil, nil)
			other.nack(t, xds.Routes, "h.example.com")
			other.ack()
			other.tell(leader)
			if late {
				leader.Apply([]source.Object{bad}, nil, nil)
			}
			const want = "the version before it stays live: no such thing"
			for _, r := range []*replica{other, leader} {
				if text := fmt.Sprintf("%+v", r.statuses["r"].Status); !strings.Contains(text, want) {
					t.Errorf("the status at %s is %s, want %q in it", r.name, text, want)
				}
				if text := fmt.Sprintf("%+v", r.statuses["s"].Status); strings.Contains(text, "no such thing") {
					t.Errorf("at %s another route is blamed: %s", r.name, text)
				}
			}
			if a, b := fmt.Sprint(contents(leader.Pipeline)), fmt.Sprint(contents(other.Pipeline)); a != b {
				t.Errorf("the replicas serve different things:\n%s\n%s", a, b)
			}
			// It holds though the other one goes, until the route is another one.
			leader.Heard(peer.Report{From: "other", Whole: true})
			if text := fmt.Sprintf("%+v", leader.statuses["r"].Status); !strings.Contains(text, want) {
				t.Errorf("after the other is away the status is %s", text)
			}
			leader.Apply([]source.Object{route("r", "h.example.com", "/third", "b")}, nil, nil)
			if text := fmt.Sprintf("%+v", leader.statuses["r"].Status); strings.Contains(text, "no such thing") {
				t.Errorf("the mended route is still blamed: %s", text)
			}
		})
	}
}

// TestRouteRefusedBeforeAReplicaStarted: a replica that starts after a route became what Envoy refuses serves the
// version before, which it was never given, and hands it on to the next one. So it holds when all are replaced one by
// one.
func TestRouteRefusedBeforeAReplicaStarted(t *testing.T) {
	leader := newReplica("leader")
	others := []source.Object{backend("b"), route("s", "h.example.com", "/s", "b")}
	leader.Apply(append(append(base(), others...), route("r", "h.example.com", "/first", "b")), nil, nil)
	leader.connect()
	leader.ack()
	bad := route("r", "h.example.com", "/bad", "b")
	bad.Object.(*gwv1.HTTPRoute).Generation = 2
	leader.Apply([]source.Object{bad}, nil, nil)
	leader.nack(t, xds.Routes, "h.example.com")
	leader.ack()
	want := fmt.Sprint(contents(leader.Pipeline))

	last := leader
	for _, name := range []string{"second", "third"} {
		next := newReplica(name)
		next.Apply(append(append(base(), others...), bad), nil, nil)
		if got := fmt.Sprint(contents(next.Pipeline)); got == want {
			t.Fatalf("the %s replica has the version before though nobody told it", name)
		}
		last.tell(next)
		if got := fmt.Sprint(contents(next.Pipeline)); got != want {
			t.Errorf("the %s replica serves something else:\n%s\n%s", name, got, want)
		}
		next.Heard(peer.Report{From: last.name, Whole: true})
		const words = "the version before it stays live: no such thing"
		if text := fmt.Sprintf("%+v", next.statuses["r"].Status); !strings.Contains(text, words) {
			t.Errorf("the status at the %s replica is %s, want %q in it", name, text, words)
		}
		last = next
	}
	last.Apply([]source.Object{route("r", "h.example.com", "/third", "b")}, nil, nil)
	if text := fmt.Sprintf("%+v", last.statuses["r"].Status); strings.Contains(text, "no such thing") {
		t.Errorf("the mended route is still blamed: %s", text)
	}
}

// TestRouteRefusedWhileAReplicaStarts has the Envoy of a replica that is new refuse the route before others tell what
// it was: the version before comes back with that.
func TestRouteRefusedWhileAReplicaStarts(t *testing.T) {
	leader, late := newReplica("leader"), newReplica("late")
	first := route("r", "h.example.com", "/first", "b")
	leader.Apply(append(base(), backend("b"), first), nil, nil)
	leader.connect()
	leader.ack()
	bad := route("r", "h.example.com", "/bad", "b")
	leader.Apply([]source.Object{bad}, nil, nil)
	late.Apply(append(base(), backend("b"), bad), nil, nil)
	late.connect()
	for _, r := range []*replica{leader, late} {
		r.nack(t, xds.Routes, "h.example.com")
		r.ack()
	}
	leader.tell(late)
	if got, want := fmt.Sprint(contents(late.Pipeline)), fmt.Sprint(contents(leader.Pipeline)); got != want {
		t.Errorf("the replica serves something else:\n%s\n%s", got, want)
	}
}

// TestInnocentRouteBesideARefusedOne has the Envoy of a replica refuse a host after another replica has told which
// route in it is to blame. The other route of the host, which was never live at this replica, is not blamed for it.
func TestInnocentRouteBesideARefusedOne(t *testing.T) {
	leader, other := two(backend("b"), route("good", "h.example.com", "/good", "b"))
	leader.connect()
	leader.ack()
	other.connect()
	bad := route("bad", "h.example.com", "/bad", "b")
	for _, r := range []*replica{leader, other} {
		r.Apply([]source.Object{bad}, nil, nil)
	}
	served := len(other.updates)
	leader.nack(t, xds.Routes, "h.example.com")
	leader.ack()
	leader.tell(other)
	other.updates = other.updates[:served] // its Envoy answers what it was sent before it heard of that
	other.nack(t, xds.Routes, "h.example.com")
	other.ack()
	if text := fmt.Sprintf("%+v", other.statuses["good"].Status); strings.Contains(text, "no such thing") {
		t.Errorf("the other route is blamed: %s", text)
	}
	if text := fmt.Sprintf("%+v", other.statuses["bad"].Status); !strings.Contains(text, "no such thing") {
		t.Errorf("the route that is refused is not blamed: %s", text)
	}
	if a, b := fmt.Sprint(contents(leader.Pipeline)), fmt.Sprint(contents(other.Pipeline)); a != b {
		t.Errorf("the replicas serve different things:\n%s\n%s", a, b)
	}
}

// TestRefusedPolicyIsMendedAtBothReplicas mends the policy that Envoy refused a route for. Neither replica takes the
// word of the other, which has not seen that yet, for the route as it is now.
func TestRefusedPolicyIsMendedAtBothReplicas(t *testing.T) {
	policy := func(generation int64) source.Object {
		o := &egv1a1.BackendTrafficPolicy{}
		o.Namespace, o.Name, o.Generation = "ns", "p", generation
		o.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
			LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{
				Group: model.GroupGateway, Kind: model.KindHTTPRoute, Name: "r",
			},
		}}
		return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, "p"), Object: o}
	}
	leader, other := two(backend("b"), route("r", "h.example.com", "/r", "b"), policy(1))
	for _, r := range []*replica{leader, other} {
		r.connect()
	}
	leader.nack(t, xds.Routes, "h.example.com")
	leader.tell(other)
	other.tell(leader)
	refused := func(r *replica) bool {
		return strings.Contains(fmt.Sprintf("%+v", r.statuses["r"].Status), "no such thing")
	}
	if !refused(leader) || !refused(other) {
		t.Fatal("the route is not refused at both replicas")
	}
	for _, r := range []*replica{leader, other} {
		r.Apply([]source.Object{policy(2)}, nil, nil)
	}
	leader.tell(other)
	other.tell(leader)
	if refused(leader) || refused(other) {
		t.Errorf("with the policy mended the route is still refused: %v at the leader, %v at the other one",
			refused(leader), refused(other))
	}
}
