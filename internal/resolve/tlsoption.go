package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// cipherSuites are the cipher suites for TLS up to 1.2 that Envoy (BoringSSL) has, by its own names and by those of the
// IANA. Several of them with the same preference are written in brackets, with "|" between them.
var cipherSuites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
	"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
	"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "AES128-SHA", "ECDHE-ECDSA-AES256-SHA",
	"ECDHE-RSA-AES256-SHA", "AES256-GCM-SHA384", "AES256-SHA",
	"[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
	"[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
	"TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_256_CBC_SHA",
}

// keyCurves are the groups for the key exchange, signatureAlgorithms the signature algorithms that Envoy (BoringSSL)
// has.
var (
	keyCurves           = []string{"X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"}
	signatureAlgorithms = []string{
		"rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512", "ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384",
		"ecdsa_secp521r1_sha512", "rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512", "ed25519",
		"rsa_pkcs1_sha1", "ecdsa_sha1",
	}
	applicationProtocols = []string{"h2", "http/1.1", "http/1.0"}
)

// tlsVersions are the versions in order. Auto is left to Sluice.
var tlsVersions = []egv1a1.TLSVersion{egv1a1.TLSAuto, egv1a1.TLSv10, egv1a1.TLSv11, egv1a1.TLSv12, egv1a1.TLSv13}

// tlsOptions reads which TLS is to be spoken with backends. refuse is called for what cannot be had; path is relative
// to that of the settings.
func tlsOptions(spec *egv1a1.TLSSettings, refuse func(path, message string)) model.TLSOptions {
	var out model.TLSSettings
	version := func(path string, v *egv1a1.TLSVersion) string {
		switch {
		case v == nil || *v == egv1a1.TLSAuto:
			return ""
		case !slices.Contains(tlsVersions, *v):
			refuse(path, fmt.Sprintf("%q is no version of TLS: use 1.0, 1.1, 1.2 or 1.3", *v))
		}
		return string(*v)
	}
	out.MinVersion, out.MaxVersion = version(".minVersion", spec.MinVersion), version(".maxVersion", spec.MaxVersion)
	if least, most := cmp.Or(out.MinVersion, "1.2"), cmp.Or(out.MaxVersion, "1.3"); least > most {
		refuse(".minVersion", fmt.Sprintf("The least version, %s, is above the highest, %s: no version is left", least, most))
	}
	var alpn []string
	for _, p := range spec.ALPNProtocols {
		alpn = append(alpn, string(p))
	}
	for _, list := range []struct {
		path         string
		asked, known []string
		to           *[]string
	}{
		{".ciphers", spec.Ciphers, cipherSuites, &out.Ciphers},
		{".ecdhCurves", spec.ECDHCurves, keyCurves, &out.Curves},
		{".signatureAlgorithms", spec.SignatureAlgorithms, signatureAlgorithms, &out.Signatures},
		{".alpnProtocols", alpn, applicationProtocols, &out.ALPN},
	} {
		for i, value := range list.asked {
			if !slices.Contains(list.known, value) {
				refuse(fmt.Sprintf("%s[%d]", list.path, i), fmt.Sprintf("%q is not known to Envoy: use one of %s",
					value, strings.Join(list.known, ", ")))
			}
		}
		*list.to = list.asked
	}
	if len(spec.Fingerprints) > 0 {
		refuse(".fingerprints", "Fingerprints are of clients, and a backend is none: remove it")
	}
	return out.Options()
}
