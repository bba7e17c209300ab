package e2e

import (
	"crypto/tls"
	"testing"
)

// TestA56TLSByDefault connects to a listener of which nothing is said but its certificate: with old versions, weak
// ciphers, and sessions of before nobody gets in.
func TestA56TLSByDefault(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": httpsGateway([3]string{"one", "one.example", "{name: one}"}), "backends.yaml": backendsYAML,
		"secrets.yaml": ca.secret(t, "one", "rsa", "one.example"), "routes.yaml": attach("one", "one", "", "one"),
	})
	in.must(t, request{host: "one.example", port: "HTTPS", tls: sni("one.example", ca)}, expect{backend: "one"})
	connect := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		config := sni("one.example", ca)
		change(config)
		conn, err := tls.Dial("tcp", in.address("HTTPS"), config)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState(), nil
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		_, err := connect(func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if want := version >= tls.VersionTLS12; (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	taken := 0
	var strong []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		_, err := connect(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite.ID}
		})
		if err == nil {
			taken++
			strong = append(strong, suite.ID)
		}
	}
	// What is left has forward secrecy and authenticates what it encrypts; three of these are for RSA keys.
	for _, id := range strong {
		switch id {
		case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:
		default:
			t.Errorf("the cipher %s is taken", tls.CipherSuiteName(id))
		}
	}
	if taken == 0 {
		t.Error("no cipher of TLS 1.2 is taken")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1)
		for range 2 {
			state, err := connect(func(c *tls.Config) { c.MaxVersion, c.ClientSessionCache = version, cache })
			if err != nil || state.DidResume {
				t.Errorf("%s: the session is resumed: %t, %v", tls.VersionName(version), state.DidResume, err)
			}
		}
	}
	for name, server := range map[string]string{"no SNI": "", "unknown SNI": "other.example", "an address": "127.0.0.1"} {
		if _, err := connect(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = server, true }); err == nil {
			t.Errorf("%s: there is a listener for it", name)
		}
	}
}
