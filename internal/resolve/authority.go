package resolve

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// caKey is the key under which a ConfigMap or Secret holds a CA bundle.
const caKey = "ca.crt"

// Authority is what a trust comes to: certificates, or a file that Envoy reads.
type Authority struct {
	// Bundle are the CA certificates as canonical PEM, each once.
	Bundle []byte
	// File is the path of the bundle on the proxy's machine; set for [model.SystemTrust] alone.
	File string
	// Revoked are certificate revocation lists as canonical PEM, empty if there are none.
	Revoked []byte
}

// bundle is what an object holds as a CA bundle, or as certificate revocation lists.
type bundle struct {
	// Certificates are DER, the lists too.
	Certificates [][]byte
	// Problem is why it cannot be used; empty if it can.
	Problem string
}

// addBundles reads each object that is named as a CA bundle once, however often it is named.
func (t *Tables) addBundles(e *incr.Engine) {
	byPolicies := incr.NewIndex(e, "bundles of policies", t.in.backendTLS,
		func(key model.Name, p *gwv1.BackendTLSPolicy) []model.Ref {
			var out []model.Ref
			for _, ref := range p.Spec.Validation.CACertificateRefs {
				out = append(out, localBundle(ref, key.Namespace))
			}
			return out
		})
	byGateways := incr.NewIndex(e, "bundles of gateways", t.ours, func(key model.Name, own *ownGateway) []model.Ref {
		var out []model.Ref
		eachValidation(own.Gateway, func(v *gwv1.FrontendTLSValidation) {
			for _, ref := range v.CACertificateRefs {
				out = append(out, bundleRef(ref, key.Namespace))
			}
		})
		return out
	})
	byBackends, byXBackends := ownBundles(e, &t.in)
	byListenerPolicies, lists := t.trustOfClientPolicies(e)
	t.bundles = incr.NewTable(e, "ca bundles", t.bundle, byPolicies, byGateways, byBackends, byXBackends,
		byListenerPolicies)
	t.revocations = incr.NewTable(e, "revocation lists", t.revocation, lists)
}

// localBundle is the object of a caCertificateRef that has no namespace.
func localBundle(ref gwv1.LocalObjectReference, namespace string) model.Ref {
	return bundleRef(gwv1.ObjectReference{Group: ref.Group, Kind: ref.Kind, Name: ref.Name}, namespace)
}

// bundleRef is the object of a caCertificateRef of an object in a namespace.
func bundleRef(ref gwv1.ObjectReference, namespace string) model.Ref {
	out := model.Ref{Group: string(ref.Group), Kind: string(ref.Kind), Name: model.Name{Name: string(ref.Name)}}
	if out.Group == model.GroupCertificates && out.Kind == model.KindClusterTrustBundle {
		return out
	}
	out.Namespace = string(deref(ref.Namespace, gwv1.Namespace(namespace)))
	return out
}

// holdsBundles says whether objects of a kind can hold a CA bundle.
func holdsBundles(ref model.Ref) bool {
	switch ref.Kind {
	case model.KindConfigMap, model.KindSecret:
		return ref.Group == model.GroupCore
	case model.KindClusterTrustBundle:
		return ref.Group == model.GroupCertificates
	}
	return false
}

// wrongBundleKind is what is said about a caCertificateRef of another kind.
func wrongBundleKind(ref model.Ref) string {
	return fmt.Sprintf("%s of group %q cannot hold CA certificates: use a ConfigMap, a Secret or a ClusterTrustBundle",
		ref.Kind, ref.Group)
}

func (t *Tables) bundle(r *incr.Reader, key model.Ref) (*bundle, bool) {
	var data []byte
	var found, has bool
	where := caKey
	switch {
	case !holdsBundles(key):
	case key.Kind == model.KindConfigMap:
		if o, ok := incr.Get(r, t.in.configMaps, key.Name); ok {
			found = true
			if text, ok := o.Data[caKey]; ok {
				data, has = []byte(text), true
			} else {
				data, has = o.BinaryData[caKey]
			}
		}
	case key.Kind == model.KindSecret:
		if o, ok := incr.Get(r, t.in.secrets, key.Name); ok {
			data, found = secretData(o, caKey), true
			has = data != nil
		}
	default:
		if o, ok := incr.Get(r, t.in.trustBundles, key.Name); ok {
			data, found, has, where = []byte(o.Spec.TrustBundle), true, true, "spec.trustBundle"
		}
	}
	switch {
	case !found:
		return nil, false
	case !has:
		return &bundle{Problem: "it has no key " + caKey}, true
	}
	certificates, err := readBundle(data)
	if err != nil {
		return &bundle{Problem: where + " " + err.Error()}, true
	}
	return &bundle{Certificates: certificates}, true
}

// readBundle returns the certificates of a bundle in PEM. Text between the blocks is common and means nothing; but a
// block that is damaged, or that says which certificates are revoked, would be lost silently, so it is an error.
func readBundle(data []byte) ([][]byte, error) {
	var out [][]byte
	seen := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			seen++
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("holds a certificate, number %d, that cannot be parsed: %w", seen, err)
			}
			out = append(out, block.Bytes)
		case "X509 CRL":
			return nil, fmt.Errorf("holds a certificate revocation list, which does not belong there: remove it")
		}
	}
	if begun := bytes.Count(data, []byte("-----BEGIN CERTIFICATE-----")); begun != seen {
		return nil, fmt.Errorf("holds %d PEM certificates of which %d are damaged", begun, begun-seen)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("holds no PEM certificate")
	}
	return out, nil
}

// problem returns why an object cannot be used as a CA bundle, or "". The caller has checked its kind, and that it may
// be referred to.
func (t *Tables) bundleProblem(r *incr.Reader, ref model.Ref) string {
	b, ok := incr.Get(r, t.bundles, ref)
	switch {
	case !ok:
		return fmt.Sprintf("%s does not exist", ref)
	case b.Problem != "":
		return fmt.Sprintf("%s is not valid: %s", ref, b.Problem)
	}
	return ""
}

// addAuthorities adds the certificates of every trust that a listener, a policy or a backend has which can be applied.
func (t *Tables) addAuthorities(e *incr.Engine) {
	ofListeners := incr.NewIndex(e, "trusts of listeners", t.contenders,
		func(_ model.ListenerKey, c *contender) []model.Trust {
			if c.Listener.Clients == nil {
				return nil
			}
			return []model.Trust{c.Listener.Clients.Trust}
		})
	ofPolicies := incr.NewIndex(e, "trusts of policies", t.tlsPolicies, func(_ model.Name, p *tlsPolicy) []model.Trust {
		if p.TLS == nil {
			return nil
		}
		return []model.Trust{p.TLS.Trust}
	})
	ofBackends := incr.NewIndex(e, "trusts of backends", t.ownTLS, func(_ model.Ref, own *ownTLS) []model.Trust {
		if own.TLS == nil || own.TLS.Trust == (model.Trust{}) {
			return nil
		}
		return []model.Trust{own.TLS.Trust}
	})
	ofServers := incr.NewIndex(e, "trusts of servers", t.policyFields, trustsOfServers)
	ofClients := incr.NewIndex(e, "trusts of client policies", t.policyFields, trustsOfClients)
	t.Authorities = incr.NewTable(e, "authorities", func(r *incr.Reader, key model.Trust) (Authority, bool) {
		if key == model.SystemTrust {
			return Authority{File: t.opts.SystemCAs}, t.opts.SystemCAs != ""
		}
		var out bytes.Buffer
		seen := map[string]bool{}
		for _, ref := range key.Bundles() {
			b, ok := incr.Get(r, t.bundles, ref)
			if !ok {
				continue
			}
			for _, der := range b.Certificates {
				if seen[string(der)] {
					continue
				}
				seen[string(der)] = true
				out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
			}
		}
		return Authority{Bundle: out.Bytes(), Revoked: t.revokedBy(r, key)}, out.Len() > 0
	}, ofListeners, ofPolicies, ofBackends, ofServers, ofClients)
}
