package operator

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	tests := []struct{ format, want string }{
		{"", ""},
		{"plain", ""},
		{"100%% of %REQ(:METHOD)% %START_TIME(%Y/%m/%dT%H:%M:%S%z)%\n", ""},
		{"%REQ(X-LONG?:AUTHORITY):20%", ""},
		{"%DOWNSTREAM_TLS_VERSION%%UPSTREAM_HOST%", ""},
		{"%REQ_WITHOUT_QUERY(:PATH)%", ""},
		{"100%", "begins no command operator"},
		{"%REQ(:METHOD)", "begins no command operator"},
		{"% REQ%", "begins no command operator"},
		{"%NO_SUCH%", "knows no command operator %NO_SUCH%"},
		{"%SECRET(x)%", "knows no command operator"},
	}
	for _, tt := range tests {
		err := Check(tt.format)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Check(%q) = %v, want %q", tt.format, err, tt.want)
		}
	}
}

func TestUses(t *testing.T) {
	tests := []struct {
		format string
		want   bool
	}{
		{"%REQ(:PATH)%", false},
		{"100% REQ_WITHOUT_QUERY", false},
		{"a %REQ(:PATH)% b %REQ_WITHOUT_QUERY(:PATH)%", true},
	}
	for _, tt := range tests {
		if got := Uses(tt.format, WithoutQuery); got != tt.want {
			t.Errorf("Uses(%q) = %v", tt.format, got)
		}
	}
}
