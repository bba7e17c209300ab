package resolve

import (
	"slices"
	"testing"
)

func TestIntersect(t *testing.T) {
	cases := []struct{ listener, route, want string }{
		{"", "", "*"},
		{"", "a.example.com", "a.example.com"},
		{"a.example.com", "", "a.example.com"},
		{"a.example.com", "*.example.com", "a.example.com"},
		{"*.example.com", "*.example.com", "*.example.com"},
		{"*.example.com", "a.b.example.com", "a.b.example.com"},
		{"*.example.com", "*.b.example.com", "*.b.example.com"},
		{"*.b.example.com", "*.example.com", "*.b.example.com"},
		{"*.example.com", "example.com", "none"},
		{"*.example.com", "anexample.com", "none"},
		{"*.example.com", "a.example.net", "none"},
		{"a.example.com", "b.example.com", "none"},
		{"a.example.com", "*.a.example.com", "none"},
	}
	for _, tc := range cases {
		got, ok := intersect(tc.listener, tc.route)
		if got = domain(got); !ok {
			got = "none"
		}
		if got != tc.want {
			t.Errorf("intersect(%q, %q) = %s, want %s", tc.listener, tc.route, got, tc.want)
		}
	}
}

func TestWidenGoesThroughEverythingThatCovers(t *testing.T) {
	var got []string
	for h, ok := "a.b.example.com", true; ok; h, ok = widen(h) {
		if !covers(h, "a.b.example.com") {
			t.Errorf("%q does not cover the host it came from", h)
		}
		got = append(got, h)
	}
	want := []string{"a.b.example.com", "*.b.example.com", "*.example.com", "*.com", ""}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompareHosts(t *testing.T) {
	want := []string{"a.example.com", "z.com", "*.b.example.com", "*.a.com", "*.example.com", "*.com", ""}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareHosts)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
