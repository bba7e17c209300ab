package resource

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxTrustBundleSize is the API server's limit, in bytes, of the certificates of a ClusterTrustBundle.
const maxTrustBundleSize = 1 << 20

// trustBundleName validates what follows the signer in the name of a ClusterTrustBundle. The signer itself is checked
// with the spec, which names it too.
func trustBundleName(name string, prefix bool) []string {
	return validation.NameIsDNSSubdomain(name[strings.LastIndex(name, ":")+1:], prefix)
}

func checkTrustBundle(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	var errs field.ErrorList
	name := field.NewPath("metadata", "name")
	prefix := strings.ReplaceAll(b.Spec.SignerName, "/", ":") + ":"
	switch signer := b.Name[:strings.LastIndex(b.Name, ":")+1]; {
	case b.Spec.SignerName == "" && signer != "":
		errs = append(errs, field.Invalid(name, b.Name,
			`ClusterTrustBundle without signer name must not have ":" in its name`))
	case b.Spec.SignerName != "" && signer != prefix:
		errs = append(errs, field.Invalid(name, b.Name,
			fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", b.Spec.SignerName, prefix)))
	}
	path := field.NewPath("spec", "trustBundle")
	if len(b.Spec.TrustBundle) > maxTrustBundleSize {
		return append(errs, field.TooLong(path, "", maxTrustBundleSize))
	}
	return append(errs, checkTrustAnchors(path, []byte(b.Spec.TrustBundle))...)
}

func checkTrustAnchors(path *field.Path, rest []byte) field.ErrorList {
	const omitted = "<value omitted>"
	var errs field.ErrorList
	entries := 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if wrong := wrongTrustAnchor(block); wrong != "" {
			errs = append(errs, field.Invalid(path, omitted, fmt.Sprintf("entry %d %s", entries, wrong)))
		}
		entries++
	}
	if entries == 0 {
		errs = append(errs, field.Invalid(path, omitted, "at least one trust anchor must be provided"))
	}
	return errs
}

// wrongTrustAnchor returns why a PEM block is no trust anchor, or "".
func wrongTrustAnchor(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
