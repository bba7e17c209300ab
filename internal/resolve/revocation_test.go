package resolve

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// crl returns a certificate revocation list with a number, as PEM.
func crl(t testing.TB, number int64) string {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	issuer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, KeyUsage: x509.KeyUsageCRLSign,
		SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Unix(0, 0), NextUpdate: time.Unix(1<<33, 0),
	}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: der}))
}

func crlYAML(t testing.TB, name string, number int64) string {
	return bundleOf(model.KindConfigMap, name, crlKey, crl(t, number))
}

func TestReadRevocations(t *testing.T) {
	good := crl(t, 1)
	certificate, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	for _, tt := range []struct {
		name, text, want string
		lists            int
	}{
		{"one", good, "", 1},
		{"two, with text around", "first\n" + good + "second\n" + good, "", 2},
		{"nothing", "", "no revocation list in PEM", 0},
		{"a certificate", string(certificate), "of type CERTIFICATE", 0},
		{"damaged", good[:len(good)-40] + "\n", "of which 1 are damaged", 0},
		{"another content", strings.ReplaceAll(string(certificate), "CERTIFICATE", crlBlock), "cannot be parsed", 0},
	} {
		lists, err := readRevocations([]byte(tt.text))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) || len(lists) != tt.lists {
			t.Errorf("%s: %d lists, error %v, want %q", tt.name, len(lists), err, tt.want)
		}
	}
}
