package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"abc"}]}`:                                       "",
		`{"keys":[{"kty":"RSA","n":"abc","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"a","y":"b"}]}`: "",
		``:                         "not JSON",
		`<html>`:                   "not JSON",
		`[]`:                       "not JSON",
		`{}`:                       "is empty",
		`{"keys":[{"kty":"X"}]}`:   "keys[0] is not of type",
		`{"keys":[{"kty":"RSA"}]}`: "keys[0] has no n",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"abc","d":"s3cret"}]}`: "private key",
	} {
		expect(t, text, Check(text), want)
	}
}

// expect fails the test unless there is an error with a text, or none if that is empty. What is secret is in no error.
func expect(t *testing.T, text string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", text, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")):
		t.Errorf("%s: %v, want %q", text, err, want)
	}
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// published are keys as issuers publish them, by name.
func published(t *testing.T) map[string]key {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]key{
		"rsa": {"kty": "RSA", "n": encode(rsaKey.N.Bytes()), "e": "AQAB", "alg": "RS256", "kid": "rsa"},
	}
	for crv, curve := range map[string]elliptic.Curve{
		"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
	} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := (len(point) - 1) / 2
		out[crv] = key{"kty": "EC", "crv": crv, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:]), "kid": crv}
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out["okp"] = key{"kty": "OKP", "crv": "Ed25519", "x": encode(public), "alg": "EdDSA", "kid": "okp"}
	return out
}

// with returns a key with another member, or without it if the value is nil.
func (k key) with(member string, value any) key {
	out := key{}
	for name, v := range k {
		out[name] = v
	}
	out[member] = value
	if value == nil {
		delete(out, member)
	}
	return out
}

func set(t *testing.T, keys ...key) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPublic says which keys of a set go on, and that nothing else of it does.
func TestPublic(t *testing.T) {
	all := published(t)
	for name, k := range all {
		got, err := Public([]byte(set(t, k)))
		if want := set(t, k); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
	rsaKey, good := all["rsa"], set(t, all["okp"])
	others := map[string]key{
		"for encryption":      rsaKey.with("alg", "RSA-OAEP"),
		"used to encrypt":     rsaKey.with("use", "enc"),
		"used for something":  rsaKey.with("use", 7),
		"to wrap keys":        rsaKey.with("key_ops", []string{"wrapKey"}),
		"for no operation":    rsaKey.with("key_ops", nil).with("key_ops", "verify"),
		"of another type":     rsaKey.with("kty", "AKP"),
		"without type":        rsaKey.with("kty", nil),
		"type in upper case":  rsaKey.with("kty", nil).with("KTY", "RSA"),
		"kid that is none":    rsaKey.with("kid", 7),
		"no base64":           rsaKey.with("n", "?s3cret"),
		"short modulus":       rsaKey.with("n", "AQAB"),
		"endless modulus":     rsaKey.with("n", encode(make([]byte, 1))+strings.Repeat("_", 4000)),
		"exponent 1":          rsaKey.with("e", "AQ"),
		"even exponent":       rsaKey.with("e", "Ag"),
		"large exponent":      rsaKey.with("e", encode([]byte{1, 0, 0, 0, 0, 1})),
		"no exponent":         rsaKey.with("e", nil),
		"not on the curve":    all["P-256"].with("y", all["P-256"]["x"]),
		"point of another":    all["P-256"].with("x", all["P-384"]["x"]),
		"another curve":       all["P-256"].with("crv", "secp256k1"),
		"algorithm of others": all["P-256"].with("alg", "ES384"),
		"key agreement":       all["okp"].with("crv", "X25519"),
		"half a key":          all["okp"].with("x", all["okp"].text("x")[:20]),
		"EdDSA of no curve":   all["okp"].with("crv", nil),
	}
	for name, k := range others {
		got, err := Public([]byte(set(t, k, all["okp"])))
		if err != nil || string(got) != good {
			t.Errorf("%s: got %s, %v, want it left out", name, got, err)
		}
		_, err = Public([]byte(set(t, k)))
		expect(t, name, err, "none of its keys can verify tokens")
	}
}

// TestPublicIsTheSame says that neither the order of keys nor what is around them is another set.
func TestPublicIsTheSame(t *testing.T) {
	all := published(t)
	want, err := Public([]byte(set(t, all["rsa"], all["okp"], all["P-521"])))
	if err != nil {
		t.Fatal(err)
	}
	decorated := all["rsa"].with("x5c", []string{"s3cret"}).with("use", "sig").with("key_ops", []any{"verify"}).
		with("n", all["rsa"].text("n")+"==")
	got, err := Public([]byte(" {\"more\": 1, \"keys\": [" + strings.TrimSuffix(strings.TrimPrefix(
		set(t, all["P-521"], decorated, all["okp"], all["rsa"]), `{"keys":[`), "]}") + "]}\n"))
	if err != nil || string(got) != string(want) {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// TestPublicRefuses says which sets are not used at all.
func TestPublicRefuses(t *testing.T) {
	all := published(t)
	many := make([]key, 100)
	for i := range many {
		many[i] = all["rsa"].with("kid", fmt.Sprint(i))
	}
	for text, want := range map[string]string{
		"":                       "not JSON",
		"<html>s3cret":           "not JSON",
		`{"keys": 7}`:            "not JSON",
		`{"keys": ["s3cret"]}`:   "not JSON",
		`{"password": "s3cret"}`: "is empty",
		`{"keys": [null]}`:       "none of its keys",
		set(t, many...):          "larger than",
		set(t, all["rsa"], all["okp"].with("d", "s3cret")):   "keys[1] is a private key",
		set(t, all["rsa"], key{"kty": "oct", "k": "s3cret"}): "keys[1] is a secret",
	} {
		_, err := Public([]byte(text))
		expect(t, text[:min(40, len(text))], err, want)
	}
}
