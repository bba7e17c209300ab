package format

import "testing"

func TestText(t *testing.T) {
	tests := []struct {
		text, want string
		dynamic    bool
	}{
		{"", "", false},
		{"plain", "plain", false},
		{"100%", "100%", false},
		{"100%%", "100%", false},
		{"%FOO% %req(:path)% %REQ(a", "%FOO% %req(:path)% %REQ(a", false},
		{"%REQ(a\n)%", "%REQ(a\n)%", false},
		{"%PROTOCOL%", "%PROTOCOL%", true},
		{"%PROTOCOL:3%", "%PROTOCOL:3%", true},
		{"5% %PROTOCOL% %% %", "5%% %PROTOCOL% %% %%", true},
		{"%%PROTOCOL%", "%PROTOCOL%", false},
		{"%REQ(X?:path):10%", "%REQ(X?:path):10%", true},
		// One that hides in the argument of another stays there.
		{"%REQ(a%ENVIRONMENT(HOME)%", "%REQ(a%ENVIRONMENT(HOME)%", true},
		{"%FILE_CONTENT(/etc/passwd)% %PROTOCOL%", "%%FILE_CONTENT(/etc/passwd)%% %PROTOCOL%", true},
	}
	for _, tt := range tests {
		got, dynamic, err := Text(tt.text)
		if got != tt.want || dynamic != tt.dynamic || err != nil {
			t.Errorf("Text(%q) = %q, %v, %v; want %q, %v", tt.text, got, dynamic, err, tt.want, tt.dynamic)
		}
	}
	for _, text := range []string{"a %ENVIRONMENT(X)%", "%FOO%ENVIRONMENT(X):3%", `%COALESCE({"operators": []})%`} {
		if _, _, err := Text(text); err == nil {
			t.Errorf("Text(%q) is allowed: the proxy's environment is none of a route author's business", text)
		}
	}
}
