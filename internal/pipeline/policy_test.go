package pipeline_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// authority is a ConfigMap with a CA certificate.
func authority(t *testing.T) source.Object {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return source.Object{
		Ref: refOf("", model.KindConfigMap, "ca"),
		Object: &corev1.ConfigMap{ObjectMeta: meta("ca"), Data: map[string]string{
			"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		}},
	}
}

// secured is a BackendTLSPolicy of a Backend.
func secured(name string) source.Object {
	p := &gwv1.BackendTLSPolicy{ObjectMeta: meta(name)}
	p.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{
			Group: model.GroupEnvoyGateway, Kind: model.KindBackend, Name: gwv1.ObjectName(name),
		},
	}}
	p.Spec.Validation.Hostname = "b.example.com"
	p.Spec.Validation.CACertificateRefs = []gwv1.LocalObjectReference{{Kind: model.KindConfigMap, Name: "ca"}}
	return source.Object{Ref: refOf(model.GroupGateway, model.KindBackendTLSPolicy, name), Object: p}
}

// CA certificates that Envoy refuses are in the status of the policies that trust them, until they are others.
func TestRefusedAuthorityIsInTheStatus(t *testing.T) {
	statuses := map[string]*gwv1.PolicyStatus{}
	var secrets []string
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(_ model.ProxyName, changes []xds.Change) uint64 {
			for _, c := range changes {
				if c.Type == xds.Secret && c.Resource != nil {
					secrets = append(secrets, c.Name)
				}
			}
			return 1
		}
		o.Publish = func(s pipeline.Status) {
			if s.Ref.Kind == model.KindBackendTLSPolicy {
				st, _ := s.Status.(*gwv1.PolicyStatus)
				statuses[s.Ref.Name.Name] = st
			}
		}
	})
	ca := authority(t)
	p.Apply(append(base(), backend("b"), route("r", "h.example.com", "/", "b"), secured("b"), ca), nil, nil)
	accepted := func(want string) {
		t.Helper()
		st := statuses["b"]
		if st == nil || len(st.Ancestors) != 1 {
			t.Fatalf("the status is %+v, want one ancestor", st)
		}
		if c := st.Ancestors[0].Conditions[0]; !strings.HasPrefix(string(c.Status)+": "+c.Message, want) {
			t.Errorf("the condition is %+v, want %q", c, want)
		}
	}
	accepted("True: ")
	const secret = "ca:configmap/ns/ca"
	if len(secrets) != 1 || secrets[0] != secret {
		t.Fatalf("the secrets are %q, want %q", secrets, secret)
	}
	p.Observe(xds.Event{
		Kind: xds.Rejected, Proxy: proxy, Type: xds.Secret, Resource: secret, Message: "no such thing",
		Owners: []model.Ref{ca.Ref},
	})
	accepted("False: Envoy refused the CA certificates: no such thing")
	p.Apply([]source.Object{authority(t)}, nil, nil)
	accepted("True: ")
	p.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindHTTPRoute, "r")}, nil)
	if st := statuses["b"]; st != nil {
		t.Errorf("a policy that is for no traffic has the status %+v", st)
	}
}
