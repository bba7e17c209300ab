package clienttls

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

var (
	// modernCiphers are Envoy's own, for TLS 1.2.
	modernCiphers = []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256",
		"ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	}
	// oldCiphers are those of TLS 1.0 and 1.1.
	oldCiphers = []string{
		"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-SHA",
		"AES256-SHA",
	}
	// ciphers are all that Envoy knows, by both of their names.
	ciphers = slices.Concat(modernCiphers, oldCiphers, []string{
		"AES128-GCM-SHA256", "AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
		"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA",
		"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_RSA_WITH_AES_256_CBC_SHA",
	})
	// curves and algorithms are those that BoringSSL knows by name.
	curves     = []string{"X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"}
	algorithms = []string{
		"rsa_pkcs1_md5_sha1", "rsa_pkcs1_sha1", "rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512", "ecdsa_sha1",
		"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "rsa_pss_rsae_sha256",
		"rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512", "ed25519",
	}
)

// Check refuses names that Envoy does not know, and validation of clients that would let in everybody.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ClientTLSSettings)
	var refused policy.Refusals
	checkVersions(&refused, &spec.TLSSettings)
	oneOf(&refused, ".ciphers", "cipher", spec.Ciphers, ciphers)
	oneOf(&refused, ".ecdhCurves", "curve", spec.ECDHCurves, curves)
	oneOf(&refused, ".signatureAlgorithms", "signature algorithm", spec.SignatureAlgorithms, algorithms)
	for i, p := range spec.ALPNProtocols {
		if p == "" || len(p) > 255 {
			refused.Add(at(".alpnProtocols", i), "The name %q is no protocol: use h2, http/1.1 or http/1.0", p)
		}
	}
	for i, f := range spec.Fingerprints {
		if f != egv1a1.TLSFingerprintTypeJA3 && f != egv1a1.TLSFingerprintTypeJA4 {
			refused.Add(at(".fingerprints", i), "There is no fingerprint %q: use JA3 or JA4", f)
		}
	}
	if spec.ClientValidation != nil {
		checkValidation(&refused, spec.ClientValidation)
	}
	return refused
}

func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

func oneOf(refused *policy.Refusals, path, what string, list, known []string) {
	for i, name := range list {
		if !slices.Contains(known, name) {
			refused.Add(at(path, i), "Envoy knows no %s %q: use some of %s", what, name, strings.Join(known, ", "))
		}
	}
}

func checkVersions(refused *policy.Refusals, spec *egv1a1.TLSSettings) {
	version := func(path string, v *egv1a1.TLSVersion) {
		if v == nil {
			return
		}
		if _, ok := versions[*v]; !ok {
			refused.Add(path, "There is no version %q: use Auto, 1.0, 1.1, 1.2 or 1.3", *v)
		}
	}
	version(".minVersion", spec.MinVersion)
	version(".maxVersion", spec.MaxVersion)
	low, high := versions[policy.Or(spec.MinVersion, egv1a1.TLSv12)], versions[policy.Or(spec.MaxVersion, egv1a1.TLSv13)]
	if low > high && high != versions[egv1a1.TLSAuto] {
		refused.Add(".maxVersion", "It is lower than the lowest version, which is %s: nobody could connect",
			policy.Or(spec.MinVersion, egv1a1.TLSv12))
	}
	if low == versions[egv1a1.TLSv13] && len(spec.Ciphers) > 0 {
		refused.Add(".ciphers", "They are for TLS 1.2 and below, which minVersion excludes: remove them")
	}
}

func checkValidation(refused *policy.Refusals, spec *egv1a1.ClientValidationContext) {
	const path = ".clientValidation"
	mode := modeOf(spec)
	switch mode {
	case egv1a1.ClientValidationRequest, egv1a1.ClientValidationRequireAny:
		if unverified := conditions(spec); len(unverified) > 0 {
			refused.Add(path+".mode", "With the mode %s certificates are not verified, so %s would let in everybody: use "+
				"VerifyIfGiven or RequireAndVerify", mode, strings.Join(unverified, ", "))
		}
	case egv1a1.ClientValidationVerifyIfGiven, egv1a1.ClientValidationRequireAndVerify:
		if len(spec.CACertificateRefs) == 0 {
			refused.Add(path+".caCertificateRefs", "The mode %s verifies who has signed a certificate: name the CA "+
				"certificates", mode)
		}
	default:
		refused.Add(path+".mode", "There is no mode %q: use Request, RequireAny, VerifyIfGiven or RequireAndVerify", mode)
	}
	if spec.Crl != nil && len(spec.Crl.Refs) == 0 {
		refused.Add(path+".crl.refs", "It names no revocation list: add one, or remove crl")
	}
	for i, h := range spec.SPKIHashes {
		if sum, err := base64.StdEncoding.DecodeString(h); err != nil || len(sum) != sha256.Size {
			refused.Add(at(path+".spkiHashes", i), "The text %q is no SHA-256 hash in base64", h)
		}
	}
	for i, h := range spec.CertificateHashes {
		if !isFingerprint(h) {
			refused.Add(at(path+".certificateHashes", i), "The text %q is no SHA-256 hash in hexadecimal", h)
		}
	}
	checkNames(refused, path+".subjectAltNames", spec.SubjectAltNames)
}

// conditions are the fields that ask for more of a certificate than that there is one.
func conditions(spec *egv1a1.ClientValidationContext) []string {
	var out []string
	for field, set := range map[string]bool{
		"spkiHashes": len(spec.SPKIHashes) > 0, "certificateHashes": len(spec.CertificateHashes) > 0,
		"subjectAltNames": spec.SubjectAltNames != nil, "crl": spec.Crl != nil,
		"allowExpiredCertificate": spec.AllowExpiredCertificate != nil && *spec.AllowExpiredCertificate,
	} {
		if set {
			out = append(out, field)
		}
	}
	slices.Sort(out)
	return out
}

// isFingerprint says whether a text is the hash of a certificate in one of the two notations that Envoy knows: with
// colons between the bytes, or without.
func isFingerprint(text string) bool {
	plain := strings.ReplaceAll(text, ":", "")
	if sum, err := hex.DecodeString(plain); err != nil || len(sum) != sha256.Size {
		return false
	}
	return text == plain || len(text) == len(plain)+sha256.Size-1
}
