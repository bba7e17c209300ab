package model

import "testing"

func TestServer(t *testing.T) {
	for text, want := range map[string]string{
		"https://Issuer.example/keys":         "server/https/issuer.example/443",
		"https://issuer.example.:8443/?a=b":   "server/https/issuer.example/8443",
		"http://issuer.example":               "server/http/issuer.example/80",
		"http://[2001:db8::1]:8080/":          "server/http/2001:db8::1/8080",
		"https://a:b@issuer.example/":         "",
		"https://issuer.example/#x":           "",
		"https://issuer.example:0/":           "",
		"https://issuer.example:99999/":       "",
		"https:///keys":                       "",
		"ftp://issuer.example/":               "",
		"issuer.example/keys":                 "",
		"https://issuer.example~grpc/":        "",
		"https://issuer.example%2fx/":         "",
		"https://issuer.example\n.evil.test/": "",
	} {
		key, ok := Server(text)
		if ok != (want != "") || ok && key.String() != want {
			t.Errorf("%q is %v, %v, want %q", text, key, ok, want)
		}
		if key.SecureServer() != (ok && key.Namespace == "https") {
			t.Errorf("%q is secure: %v", text, key.SecureServer())
		}
	}
}
