package peer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/peer"
)

var (
	envoys   = peer.Subject{Kind: peer.Envoys, Proxy: "p"}
	listener = peer.Subject{Kind: peer.Listener, Proxy: "p", Name: "ns/gw/http"}
)

func has(content uint64, state peer.State) peer.Statement {
	return peer.Statement{Subject: listener, Content: content, State: state}
}

func TestVerdict(t *testing.T) {
	connected := peer.Statement{Subject: envoys}
	elsewhere := peer.Statement{Subject: peer.Subject{Kind: peer.Envoys, Proxy: "q"}}
	from := func(name, build string, said ...peer.Statement) peer.Report {
		return peer.Report{From: name, Build: build, Whole: true, Statements: said}
	}
	for name, test := range map[string]struct {
		said []peer.Report
		want peer.Verdict
	}{
		"nobody else":         {nil, peer.Verdict{}},
		"no Envoys there":     {[]peer.Report{from("a", "1", has(7, peer.Pending))}, peer.Verdict{}},
		"Envoys of another":   {[]peer.Report{from("a", "1", elsewhere)}, peer.Verdict{}},
		"not known there yet": {[]peer.Report{from("a", "1", connected)}, peer.Verdict{Behind: true}},
		"under way there": {
			[]peer.Report{from("a", "1", connected, has(7, peer.Pending))}, peer.Verdict{Behind: true},
		},
		"live there": {[]peer.Report{from("a", "1", connected, has(7, peer.Live))}, peer.Verdict{Live: true}},
		"programmed there": {
			[]peer.Report{from("a", "1", connected, has(7, peer.Programmed))}, peer.Verdict{Live: true},
		},
		"programmed once":        {[]peer.Report{from("a", "1", has(7, peer.Programmed))}, peer.Verdict{Live: true}},
		"other content":          {[]peer.Report{from("a", "1", connected, has(8, peer.Live))}, peer.Verdict{Behind: true}},
		"other content, nobody":  {[]peer.Report{from("a", "1", has(8, peer.Programmed))}, peer.Verdict{}},
		"other content by build": {[]peer.Report{from("a", "2", connected, has(8, peer.Live))}, peer.Verdict{Live: true}},
		"a state of the future":  {[]peer.Report{from("a", "2", connected, has(7, "frozen"))}, peer.Verdict{Behind: true}},
		"one is, one is not": {[]peer.Report{
			from("a", "1", connected, has(7, peer.Live)), from("b", "1", connected, has(7, peer.Pending)),
		}, peer.Verdict{Live: true, Behind: true}},
		"one is, one has no Envoys": {[]peer.Report{
			from("a", "1", connected, has(7, peer.Live)), from("b", "1", has(7, peer.Pending)),
		}, peer.Verdict{Live: true}},
		"one was behind, and is away": {[]peer.Report{
			from("a", "1", connected, has(7, peer.Live)), from("b", "1", connected), from("b", ""),
		}, peer.Verdict{Live: true}},
		"its Envoys went": {[]peer.Report{
			from("a", "1", connected, has(7, peer.Pending)),
			{From: "a", Build: "1", Statements: []peer.Statement{{Subject: envoys, Withdrawn: true}}},
		}, peer.Verdict{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := peer.NewBook("1")
			for _, r := range test.said {
				b.Take(r)
			}
			if diff := cmp.Diff(test.want, b.Listener(listener, 7)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTakeSaysWhatIsNews(t *testing.T) {
	b := peer.NewBook("1")
	refused := peer.Statement{
		Subject: peer.Subject{Kind: peer.Route, Name: "HTTPRoute/ns/r"}, Content: 1, Message: "bad",
	}
	for _, step := range []struct {
		name   string
		report peer.Report
		want   []peer.Subject
	}{
		{"first", peer.Report{From: "a", Build: "1", Whole: true, Statements: []peer.Statement{refused, has(7, peer.Live)}},
			[]peer.Subject{listener, refused.Subject}},
		{"the same again", peer.Report{From: "a", Build: "1", Statements: []peer.Statement{refused}}, nil},
		{"another replica", peer.Report{From: "b", Build: "1", Statements: []peer.Statement{refused}},
			[]peer.Subject{refused.Subject}},
		{"a change", peer.Report{From: "a", Build: "1", Statements: []peer.Statement{has(8, peer.Live)}},
			[]peer.Subject{listener}},
		{"whole, with less", peer.Report{From: "a", Build: "1", Whole: true, Statements: []peer.Statement{refused}},
			[]peer.Subject{listener}},
		{"withdrawn unsaid", peer.Report{From: "a", Build: "1", Statements: []peer.Statement{
			{Subject: listener, Withdrawn: true}}}, nil},
		{"another build", peer.Report{From: "a", Build: "2"}, []peer.Subject{refused.Subject}},
		{"away", peer.Report{From: "a", Build: "2", Whole: true}, []peer.Subject{refused.Subject}},
	} {
		if diff := cmp.Diff(step.want, b.Take(step.report)); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
	if got := b.About(refused.Subject); len(got) != 1 || got[0].Message != "bad" {
		t.Errorf("what the replica that is left says about the route is %v", got)
	}
	b.Take(peer.Report{From: "b", Whole: true})
	if !b.Empty() {
		t.Error("the book is not empty when all are away")
	}
}

func TestContentIsThatOfTheValue(t *testing.T) {
	type inner struct{ N *int }
	one, uno, two := 1, 1, 2
	a := peer.Content(&inner{&one})
	if a == 0 || a != peer.Content(&inner{&uno}) || a == peer.Content(&inner{&two}) {
		t.Error("content depends on where a value is, or not on what it is")
	}
	if got := peer.Content(func() {}); got != 0 {
		t.Errorf("the content of what has none is %d", got)
	}
}

func wordy(i int) peer.Statement {
	return peer.Statement{
		Subject: peer.Subject{Kind: peer.Resource, Proxy: "p", Type: "cluster", Name: fmt.Sprint(i)},
		Content: uint64(i), Message: strings.Repeat("ä", 5000),
	}
}
