package predicate

import (
	"testing"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
)

// TestListOfOne says that what is alone stands for itself: Envoy refuses a list of one.
func TestListOfOne(t *testing.T) {
	p := Text("a", &xdscorev3.TypedExtensionConfig{}, Exactly("b"))
	if All([]*Predicate{p}) != p || Any([]*Predicate{p}) != p {
		t.Error("a list of one is made")
	}
	if n := len(All([]*Predicate{p, Not(p)}).GetAndMatcher().GetPredicate()); n != 2 {
		t.Errorf("all of two are %d", n)
	}
	if n := len(Any([]*Predicate{p, Not(p)}).GetOrMatcher().GetPredicate()); n != 2 {
		t.Errorf("any of two are %d", n)
	}
}
