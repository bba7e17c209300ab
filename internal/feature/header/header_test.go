package header

import (
	"strings"
	"testing"
)

func TestCheckMutable(t *testing.T) {
	tests := map[string]string{ // name -> part of the message; empty: accepted
		"x-a":                "",
		"Host":               "",
		"X_odd!#$%&'*+.^`|~": "",
		"":                   "not a header name",
		"a b":                "not a header name",
		"naïve":              "not a header name",
		"a\nb":               "not a header name",
		":path":              "pseudo header",
		"Transfer-Encoding":  "managed by Envoy",
		"content-length":     "managed by Envoy",
		"UPGRADE":            "managed by Envoy",
	}
	for name, want := range tests {
		expect(t, name, CheckMutable(name), want)
	}
}

func TestCheckNameAllowsReading(t *testing.T) {
	expect(t, "content-length", CheckName("content-length"), "")
	expect(t, ":method", CheckName(":method"), "pseudo header")
}

func TestCheckValue(t *testing.T) {
	tests := map[string]string{
		"plain":                   "",
		"tab\tand space":          "",
		`"quoted" \ 100%`:         "",
		"größe":                   "",
		"line\nbreak":             "control characters",
		"carriage\rreturn":        "control characters",
		"nul\x00":                 "control characters",
		"\x7f":                    "control characters",
		"\xff":                    "not UTF-8",
		strings.Repeat("a", 8193): "shorten it to 8192",
		strings.Repeat("%", 8192): "",
	}
	for value, want := range tests {
		expect(t, value, CheckValue(value), want)
	}
}

func TestLiteral(t *testing.T) {
	if got, want := Literal("%REQ(cookie)% 100%"), "%%REQ(cookie)%% 100%%"; got != want {
		t.Errorf("Literal = %q, want %q", got, want)
	}
}

func expect(t *testing.T, input string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%q is refused: %v", input, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%q: got error %v, want one with %q", input, err, want)
	}
}
