package clienttls

import (
	"encoding/base64"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.ClientTLSSettings](t, Feature{})
}

func TestReferences(t *testing.T) {
	spec := &egv1a1.ClientTLSSettings{ClientValidation: &egv1a1.ClientValidationContext{
		CACertificateRefs: []gwv1.SecretObjectReference{{Name: "a"}, {Name: "b", Namespace: new(gwv1.Namespace("far"))}},
		Crl:               &egv1a1.CrlContext{Refs: []gwv1.SecretObjectReference{{Name: "c"}}},
	}}
	var got []string
	for _, r := range (Feature{}).References(model.Attached{Spec: spec, Path: "spec.tls"}) {
		what, of := "revoked", r.Revoked
		if r.Authority != nil {
			what, of = "authority", r.Authority
		}
		got = append(got, r.Path+" "+what+" "+of.Namespace+"/"+of.Name)
	}
	const want = "spec.tls.clientValidation.caCertificateRefs[0] authority /a, " +
		"spec.tls.clientValidation.caCertificateRefs[1] authority far/b, " +
		"spec.tls.clientValidation.crl.refs[0] revoked /c"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("the references are\n%s, want\n%s", text, want)
	}
}

func TestCheck(t *testing.T) {
	settings := func(s egv1a1.TLSSettings) egv1a1.ClientTLSSettings { return egv1a1.ClientTLSSettings{TLSSettings: s} }
	clients := func(v egv1a1.ClientValidationContext) egv1a1.ClientTLSSettings {
		return egv1a1.ClientTLSSettings{ClientValidation: &v}
	}
	any, ca := new(egv1a1.ClientValidationRequireAny), []gwv1.SecretObjectReference{{Name: "ca"}}
	other := func(oid string) *egv1a1.SubjectAltNames {
		return &egv1a1.SubjectAltNames{OtherNames: []egv1a1.OtherSANMatch{
			{Oid: oid, StringMatch: egv1a1.StringMatch{Value: "x"}},
		}}
	}
	hash := strings.Repeat("ab", 32)
	spki := base64.StdEncoding.EncodeToString(make([]byte, 32))
	colons := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	for _, tt := range []struct {
		spec egv1a1.ClientTLSSettings
		want string
	}{
		{egv1a1.ClientTLSSettings{}, ""},
		{settings(egv1a1.TLSSettings{MinVersion: new(egv1a1.TLSv13), MaxVersion: new(egv1a1.TLSAuto)}), ""},
		{settings(egv1a1.TLSSettings{MinVersion: new(egv1a1.TLSv13), MaxVersion: new(egv1a1.TLSv12)}),
			"nobody could connect"},
		{settings(egv1a1.TLSSettings{MaxVersion: new(egv1a1.TLSv11)}), "lowest version, which is 1.2"},
		{settings(egv1a1.TLSSettings{MinVersion: new(egv1a1.TLSVersion("2"))}), "There is no version"},
		{settings(egv1a1.TLSSettings{MinVersion: new(egv1a1.TLSv13), Ciphers: ciphers[:1]}), "TLS 1.2 and below"},
		{settings(egv1a1.TLSSettings{Ciphers: ciphers}), ""},
		{settings(egv1a1.TLSSettings{Ciphers: []string{"DES-CBC3-SHA"}}), "Envoy knows no cipher"},
		{settings(egv1a1.TLSSettings{ECDHCurves: []string{"P-1"}}), "Envoy knows no curve"},
		{settings(egv1a1.TLSSettings{SignatureAlgorithms: []string{"x"}}), "Envoy knows no signature algorithm"},
		{settings(egv1a1.TLSSettings{ALPNProtocols: []egv1a1.ALPNProtocol{""}}), "is no protocol"},
		{clients(egv1a1.ClientValidationContext{}), "name the CA certificates"},
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		{clients(egv1a1.ClientValidationContext{Optional: true}), "VerifyIfGiven verifies"},
		{clients(egv1a1.ClientValidationContext{Mode: any}), ""},
		{clients(egv1a1.ClientValidationContext{Mode: any, SPKIHashes: []string{spki}, Crl: &egv1a1.CrlContext{
			Refs: ca,
		}, CertificateHashes: []string{hash}}), "so certificateHashes, crl, spkiHashes would let in everybody"},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, CertificateHashes: []string{hash, colons}}), ""},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, CertificateHashes: []string{hash[1:]}}),
			"hexadecimal"},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, SPKIHashes: []string{hash}}), "base64"},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, Crl: &egv1a1.CrlContext{}}), "no revocation list"},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, SubjectAltNames: &egv1a1.SubjectAltNames{}}),
			"has no names"},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, SubjectAltNames: other("1.2.3")}), ""},
		{clients(egv1a1.ClientValidationContext{CACertificateRefs: ca, SubjectAltNames: other("upn")}),
			"is no object identifier"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}
