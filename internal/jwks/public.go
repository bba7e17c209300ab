package jwks

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxPublic is the size in bytes of the largest set that [Public] returns, some 80 keys: it is in the configuration of
// every route that it is for.
const maxPublic = 32 << 10

// The bounds of the modulus of an RSA key, in bytes. Verifying takes as long as it is large.
const (
	minModulus = 128
	maxModulus = 1024
)

// Public returns the keys of a set that Envoy can verify signatures with, as a set in which everything else is left out
// and which is the same for the same keys. Keys of other kinds are left out: issuers publish those too. It is an error
// if none is left, if they are too many, or if one of the set is secret. The error shows none of what is in the set.
func Public(document []byte) ([]byte, error) {
	keys, err := read(document)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for i, k := range keys {
		switch {
		case k.private():
			return nil, fmt.Errorf("keys[%d] is a private key, which everybody can read there", i)
		case k.text("kty") == "oct":
			return nil, fmt.Errorf("keys[%d] is a secret (kty oct), which is not for the configuration of Envoy", i)
		}
		if public := k.public(); public != nil {
			text, err := json.Marshal(public) // sorts the members
			if err != nil {
				return nil, fmt.Errorf("write keys[%d]: %w", i, err)
			}
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("none of its keys can verify tokens")
	}
	slices.SortFunc(out, bytes.Compare)
	out = slices.CompactFunc(out, bytes.Equal)
	set := slices.Concat([]byte(`{"keys":[`), bytes.Join(out, []byte(",")), []byte("]}"))
	if len(set) > maxPublic {
		return nil, fmt.Errorf("its keys are larger than %d bytes", maxPublic)
	}
	return set, nil
}

// verifies reports whether a key is meant for signatures, as far as it says what for (RFC 7517, sections 4.2 and 4.3).
// Envoy is not told, so it would verify with any.
func (k key) verifies() bool {
	use, said := k["use"]
	operations, listed := k["key_ops"]
	list, _ := operations.([]any)
	return (!said || use == "sig") && (!listed || slices.Contains(list, any("verify")))
}

// public returns the members that verifying takes, nil if Envoy could not verify with the key.
func (k key) public() map[string]string {
	if !k.verifies() {
		return nil
	}
	kty := k.text("kty")
	out := map[string]string{"kty": kty}
	for _, optional := range []string{"kid", "alg"} {
		value, has := k[optional]
		text, ok := value.(string)
		if has && !ok {
			return nil
		}
		if text != "" {
			out[optional] = text
		}
	}
	ok := false
	switch kty {
	case "RSA":
		ok = k.rsa(out)
	case "EC":
		ok = k.ec(out)
	case "OKP":
		ok = k.okp(out)
	}
	if !ok {
		return nil
	}
	return out
}

// number returns the bytes of a member, without leading zeros, and adds it to the others.
func (k key) number(member string, out map[string]string) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.text(member), "="))
	if err != nil {
		return nil
	}
	out[member] = base64.RawURLEncoding.EncodeToString(raw)
	return bytes.TrimLeft(raw, "\x00")
}

// rsa adds the parts of an RSA key (RFC 7518, section 6.3).
func (k key) rsa(out map[string]string) bool {
	if alg := out["alg"]; alg != "" && !slices.Contains([]string{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	}, alg) {
		return false
	}
	n, e := k.number("n", out), k.number("e", out)
	if len(n) < minModulus || len(n) > maxModulus || n[len(n)-1]&1 == 0 {
		return false
	}
	// BoringSSL takes exponents of 33 bits at most; 1 would make everything its own signature.
	return len(e) > 0 && len(e) <= 4 && e[len(e)-1]&1 == 1 && !bytes.Equal(e, []byte{1})
}

// curves are those of keys of type EC by name, with their algorithm and the size of a coordinate in bytes.
var curves = map[string]struct {
	alg   string
	size  int
	curve ecdh.Curve
}{
	"P-256": {"ES256", 32, ecdh.P256()}, "P-384": {"ES384", 48, ecdh.P384()}, "P-521": {"ES512", 66, ecdh.P521()},
}

// ec adds the parts of a key on an elliptic curve (RFC 7518, section 6.2), if its point is on the curve.
func (k key) ec(out map[string]string) bool {
	is, ok := curves[k.text("crv")]
	if alg := out["alg"]; !ok || alg != "" && alg != is.alg {
		return false
	}
	out["crv"] = k.text("crv")
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, member := range []string{"x", "y"} {
		coordinate := k.number(member, out)
		if len(coordinate) > is.size {
			return false
		}
		point = append(point, make([]byte, is.size-len(coordinate))...)
		point = append(point, coordinate...)
	}
	_, err := is.curve.NewPublicKey(point)
	return err == nil
}

// okp adds the parts of an Ed25519 key (RFC 8037, section 2).
func (k key) okp(out map[string]string) bool {
	if alg := out["alg"]; k.text("crv") != "Ed25519" || alg != "" && alg != "EdDSA" {
		return false
	}
	out["crv"] = "Ed25519"
	_ = k.number("x", out)
	return base64.RawURLEncoding.DecodedLen(len(out["x"])) == ed25519.PublicKeySize
}
