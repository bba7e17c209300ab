package status

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func render(list []metav1.Condition) string {
	var lines []string
	for _, c := range list {
		lines = append(lines, fmt.Sprintf("%s=%s/%s@%d %s", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message))
	}
	return strings.Join(lines, "\n")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestIssuesShareACondition(t *testing.T) {
	missing := func(path string) Issue {
		return Issue{Reason: ReasonBackendNotFound, Message: "Service/a/x does not exist", Path: path}
	}
	report := Report{
		missing("spec.rules[1]"), {Reason: ReasonRefNotPermitted, Message: "No grant", Path: "spec.rules[2]"},
		missing("spec.rules[0]"), missing("spec.rules[0]"),
	}
	got := Judge(ResolvedRefs, report, "ResolvedRefs", "fine", 3)
	expect(t, "condition", render([]metav1.Condition{got}),
		"ResolvedRefs=False/RefNotPermitted@3 spec.rules[2]: No grant; spec.rules[0]: Service/a/x does not exist; "+
			"spec.rules[1]: Service/a/x does not exist")
	expect(t, "no issues", render([]metav1.Condition{Judge(ResolvedRefs, nil, "ResolvedRefs", "fine", 3)}),
		"ResolvedRefs=True/ResolvedRefs@3 fine")
}

func TestUnknownReasonsComeLast(t *testing.T) {
	report := Report{{Reason: "Aaa"}, {Reason: ReasonUnsupportedValue}, {Reason: "Bbb"}}
	if got := report.Reason(); got != ReasonUnsupportedValue {
		t.Errorf("reason is %s", got)
	}
	if got := report[:1].Reason(); got != "Aaa" {
		t.Errorf("reason is %s", got)
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	c := True(Accepted, "Accepted", strings.Repeat("é", maxMessage), 1)
	if len(c.Message) > maxMessage || !utf8.ValidString(c.Message) || !strings.HasSuffix(c.Message, " ...") {
		t.Errorf("%d bytes, ends with %q", len(c.Message), c.Message[len(c.Message)-8:])
	}
}

func TestSelectKeepsTheReport(t *testing.T) {
	report := Report{
		{Path: "b", Condition: Accepted}, {Path: "a", Condition: Accepted}, {Path: "c", Condition: ResolvedRefs},
	}
	got := report.Of(Accepted, Section{})
	if len(got) != 2 || got[0].Path != "a" || report[0].Path != "b" {
		t.Errorf("got %v of %v", got, report)
	}
}

func TestRouteStatus(t *testing.T) {
	const (
		accepted = "Accepted=True/Accepted@7 The route is attached to the Gateway"
		resolved = "ResolvedRefs=True/ResolvedRefs@7 All references are resolved"
	)
	bad := func(rule int) Issue {
		return Issue{
			Section: Section{Rule: rule + 1}, Condition: Accepted, Reason: ReasonUnsupportedValue,
			Message: "Wrong", Path: fmt.Sprintf("spec.rules[%d]", rule),
		}
	}
	attached := Parent{Ref: gwv1.ParentReference{Name: "gw"}, Controller: "c"}
	cases := []struct {
		name  string
		route Route
		want  string
	}{
		{"attached", Route{Rules: 2},
			accepted + "\n" + resolved},
		{"some rules dropped", Route{Rules: 3, Report: Report{bad(2), bad(0)}},
			accepted + "\n" + resolved + "\n" +
				"PartiallyInvalid=True/UnsupportedValue@7 Dropped Rule(s) 0, 2: spec.rules[0]: Wrong; spec.rules[2]: Wrong"},
		{"all rules dropped", Route{Rules: 2, Report: Report{bad(1), bad(0), bad(0)}},
			"Accepted=False/UnsupportedValue@7 spec.rules[0]: Wrong; spec.rules[1]: Wrong\n" +
				resolved},
		{"the whole route", Route{Rules: 2, Report: Report{{Condition: Accepted, Reason: "X", Message: "No"}}},
			"Accepted=False/X@7 No\n" + resolved},
		{"another parent's issue", Route{Rules: 2, Report: Report{
			{Section: Section{Parent: 2}, Condition: Accepted, Reason: "X", Message: "No"}}},
			accepted + "\n" + resolved},
		{"refused", Route{Rules: 1, Refused: "Envoy refused the route"},
			accepted + "\n" + resolved + "\n" +
				"Programmed=False/Invalid@7 Envoy refused the route"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			tc.route.Generation, tc.route.Parents = 7, []Parent{attached}
			st := tc.route.Build()
			if len(st.Parents) != 1 || st.Parents[0].ControllerName != "c" || st.Parents[0].ParentRef.Name != "gw" {
				t.Fatalf("parents: %+v", st.Parents)
			}
			expect(t, "conditions", render(st.Parents[0].Conditions), tc.want)
		})
	}
	rejected := Route{
		Generation: 7, Rules: 2, Report: Report{bad(0)}, Parents: []Parent{{Reason: "NoMatchingParent", Message: "None"}},
	}
	expect(t, "not attached: never PartiallyInvalid", render(rejected.Build().Parents[0].Conditions),
		"Accepted=False/NoMatchingParent@7 None\n"+resolved)
}

func TestProgram(t *testing.T) {
	gw := Gateway{
		Generation: 4, Listeners: []Listener{{Name: "a", Serving: true}, {Name: "b", Serving: true, Unbound: "Taken"}},
	}
	built := gw.Build()
	ip := gwv1.IPAddressType
	address := []gwv1.GatewayStatusAddress{{Type: &ip, Value: "10.0.0.1"}}
	pending := ""
	last := func(st gwv1.GatewayStatus) string {
		return render([]metav1.Condition{
			st.Conditions[len(st.Conditions)-1],
			st.Listeners[0].Conditions[len(st.Listeners[0].Conditions)-1],
			st.Listeners[1].Conditions[len(st.Listeners[1].Conditions)-1],
		})
	}
	progress := Progress{Addresses: address, Pending: func(gwv1.SectionName) string { return pending }}
	done := Program(built, progress)
	expect(t, "done", last(done), "Programmed=True/Programmed@4 Every proxy serves the Gateway\n"+
		"Programmed=True/Programmed@4 Every proxy serves the listener\nProgrammed=False/Invalid@4 See the other conditions")
	changed := len(built.Addresses) != 0 || len(built.Conditions) != 2 || len(built.Listeners[0].Conditions) != 3
	if len(done.Addresses) != 1 || changed {
		t.Errorf("the addresses are missing, or the input was changed: %+v", built)
	}
	pending = "1 of 2 proxies has it"
	expect(t, "pending", last(Program(built, progress)), "Programmed=False/Pending@4 Listener a: 1 of 2 proxies has it\n"+
		"Programmed=False/Pending@4 1 of 2 proxies has it\nProgrammed=False/Invalid@4 See the other conditions")
	pending, progress.Addresses = "", nil
	expect(t, "no address", last(Program(built, progress)),
		"Programmed=False/AddressNotAssigned@4 The Gateway has no address yet\n"+
			"Programmed=True/Programmed@4 Every proxy serves the listener\nProgrammed=False/Invalid@4 See the other conditions")

	none := Gateway{Generation: 4, Listeners: []Listener{{Name: "a"}}}.Build()
	st := Program(none, progress)
	expect(t, "nothing to program", render(st.Conditions[2:]),
		"Programmed=False/Invalid@4 No listener is valid: see the listeners' conditions")
}

// TestCopy: each type whose conditions are walked can be copied, and the copy shares none with the original.
func TestCopy(t *testing.T) {
	condition := func() []metav1.Condition { return []metav1.Condition{{Type: Accepted}} }
	for _, st := range []any{
		&gwv1.GatewayClassStatus{Conditions: condition()},
		&gwv1.GatewayStatus{Conditions: condition(), Listeners: []gwv1.ListenerStatus{{Conditions: condition()}}},
		&gwv1.ListenerSetStatus{Conditions: condition(), Listeners: []gwv1.ListenerEntryStatus{{Conditions: condition()}}},
		&gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{{Conditions: condition()}}},
		&egv1a1.BackendStatus{Conditions: condition()},
	} {
		walked := 0
		EachCondition(Copy(st), func(_ string, c *metav1.Condition) {
			walked++
			c.Type = "Changed"
		})
		EachCondition(st, func(section string, c *metav1.Condition) {
			walked--
			if c.Type != Accepted {
				t.Errorf("%T: the copy shares the conditions of %q", st, section)
			}
		})
		if walked != 0 {
			t.Errorf("%T: the copy has %d conditions more than the original", st, walked)
		}
	}
}

// TestProgramListenerSet: a ListenerSet is programmed when its Gateway has an address, nothing is amiss with its Envoys
// and none of its own listeners is pending.
func TestProgramListenerSet(t *testing.T) {
	address := []gwv1.GatewayStatusAddress{{Value: "192.0.2.1"}}
	set := ListenerSet{Generation: 7, Listeners: []Listener{
		{Name: "good", Serving: true}, {Name: "lost", Serving: true, Conflict: "HostnameConflict", ConflictWith: "x"},
	}}
	pending := func(gwv1.SectionName) string { return "x" }
	refused := set
	refused.Reason, refused.Message = "NotAllowed", "no"
	cases := map[string]struct {
		set  ListenerSet
		p    Progress
		want string
	}{
		"live":    {set, Progress{Addresses: address}, "True/Programmed"},
		"pending": {set, Progress{Addresses: address, Pending: pending}, "False/Pending"},
		"unheard": {set, Progress{
			Addresses: address, Pending: pending, Unheard: func(gwv1.SectionName) bool { return true },
		}, "Unknown/Pending"},
		"no address":   {set, Progress{}, "False/Pending"},
		"no resources": {set, Progress{Addresses: address, Reason: "NoResources", Message: "m"}, "False/Pending"},
		"not allowed":  {refused, Progress{Addresses: address}, "False/NotAllowed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.p.Pending == nil {
				c.p.Pending = func(gwv1.SectionName) string { return "" }
			}
			built := c.set.Build()
			st := ProgramListenerSet(built, c.p)
			for _, cond := range st.Conditions {
				if cond.ObservedGeneration != 7 {
					t.Errorf("%s is about generation %d", cond.Type, cond.ObservedGeneration)
				}
				if got := string(cond.Status) + "/" + cond.Reason; cond.Type == Programmed && got != c.want {
					t.Errorf("Programmed is %s, want %s", got, c.want)
				}
			}
			if !has(st.Conditions, Programmed) || c.set.Reason == "" && has(built.Listeners[0].Conditions, Programmed) {
				t.Error("Programmed is missing, or was added to what was built")
			}
		})
	}
}
