package origin

import (
	"regexp"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]bool{
		"https://a.com": true, "HTTP://A.com:80": true, "https://*.a.com:8443": true, "http://*": true,
		"https://[::1]:443": true, "moz-extension://abc-def": true, "foo://*.a.com:1": true, "http://my_host": true,
		"*": false, "a.com": false, "https://a.com/": false, "https://a.*.com": false, "https://(a|b).com": false,
		"https://a.com:99999": false, "https://a.com:0": false, "https://[::::]": false, "1a://b": false,
		"https://a.com\n": false,
	} {
		if o, ok := Parse(text); ok != want {
			t.Errorf("%q is %+v, %v", text, o, ok)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		allowed string
		yes, no []string
	}{
		{"https://a.com", []string{"https://a.com", "https://A.com", "https://a.com:443"},
			[]string{"http://a.com", "https://a.com:8443", "https://aXcom", "https://b.a.com", "https://a.com.evil.com",
				"https://evil-a.com", "null"}},
		{"https://a.com:443", []string{"https://a.com", "https://a.com:443"}, []string{"https://a.com:80"}},
		{"http://A.com:8080", []string{"http://a.com:8080"}, []string{"http://a.com", "http://a.com:80801"}},
		{"https://*.a.com", []string{"https://x.a.com", "https://y.x.a.com", "https://x.a.com:443"},
			[]string{"https://a.com", "https://.a.com.evil.com", "https://evila.com", "https://evil.com/.a.com",
				"https://evil.com#.a.com", "https://x.a.com:8443", "http://x.a.com"}},
		{"https://*", []string{"https://a.com", "https://x.y", "https://[::1]"},
			[]string{"http://a.com", "https://a.com:8443", "null", "https://"}},
		{"http://*:3000", []string{"http://localhost:3000", "http://[::1]:3000"}, []string{"http://localhost"}},
		{"http://127.0.0.1:3000", []string{"http://127.0.0.1:3000"}, []string{"http://127x0.0.1:3000"}},
		{"moz-extension://abc", []string{"moz-extension://abc"}, []string{"mozXextension://abc", "moz-extension://abcd"}},
		{"a.b+c://*.x:1", []string{"a.b+c://y.x:1"}, []string{"aXb+c://y.x:1", "a.bbc://y.x:1", "a.b+c://y.x"}},
	}
	for _, tt := range tests {
		o, ok := Parse(tt.allowed)
		if !ok {
			t.Errorf("%s is no origin", tt.allowed)
		}
		// Envoy matches the whole string.
		re := regexp.MustCompile("^(?:" + o.Match().GetSafeRegex().GetRegex() + ")$")
		for _, text := range tt.yes {
			if !re.MatchString(text) {
				t.Errorf("%s does not allow %s", tt.allowed, text)
			}
		}
		for _, text := range tt.no {
			if re.MatchString(text) {
				t.Errorf("%s allows %s", tt.allowed, text)
			}
		}
	}
}

func TestMatchHost(t *testing.T) {
	o, _ := Parse("https://*.a.com")
	re := regexp.MustCompile("^(?:" + o.MatchHost().GetSafeRegex().GetRegex() + ")$")
	for text, want := range map[string]bool{
		"x.a.com": true, "X.A.COM:443": true, "a.com": false, "xXa.com": false, "x.a.com.evil.com": false,
		"x.a.com:8443": false,
	} {
		if re.MatchString(text) != want {
			t.Errorf("%s is allowed: %v", text, !want)
		}
	}
}
