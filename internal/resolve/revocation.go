package resolve

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// crlKey is the key under which a ConfigMap or Secret holds certificate revocation lists.
const crlKey = "ca.crl"

// crlBlock is the type of a PEM block with a certificate revocation list (RFC 7468, section 6).
const crlBlock = "X509 CRL"

// trustOfClientPolicies returns the objects that ClientTrafficPolicies name as CA bundles, and as revocation lists.
func (t *Tables) trustOfClientPolicies(e *incr.Engine) (bundles, lists incr.KeySource[model.Ref]) {
	named := func(label string, pick func(Reference) *ObjectReference) incr.KeySource[model.Ref] {
		return incr.NewIndex(e, label, t.in.clientTraffic, func(key model.Name, p *egv1a1.ClientTrafficPolicy) []model.Ref {
			if t.opts.References == nil {
				return nil
			}
			source := envoyPolicyRef(model.KindClientTrafficPolicy, key)
			var out []model.Ref
			for _, field := range takeApart(&p.Spec) {
				a := model.Attached{Feature: featureOf(source.Kind, field.Name), Spec: field.Value, Source: source}
				for _, ref := range t.opts.References(a) {
					if o := pick(ref); o != nil {
						out = append(out, o.trustRef(key.Namespace))
					}
				}
			}
			return out
		})
	}
	return named("bundles of client policies", func(r Reference) *ObjectReference { return r.Authority }),
		named("revocation lists of client policies", func(r Reference) *ObjectReference { return r.Revoked })
}

// trustRef is the object that is named by a policy of a namespace. A ClusterTrustBundle is in none.
func (o *ObjectReference) trustRef(namespace string) model.Ref {
	out := model.Ref{Group: o.Group, Kind: cmp.Or(o.Kind, model.KindSecret), Name: model.Name{
		Namespace: cmp.Or(o.Namespace, namespace), Name: o.Name,
	}}
	if out.Kind == model.KindClusterTrustBundle {
		// References of policies have the group of Secrets where nothing is written.
		out.Group, out.Namespace = cmp.Or(o.Group, model.GroupCertificates), ""
	}
	return out
}

// trustObject returns the object with CA certificates or revocation lists that a policy refers to, and why it cannot be
// used.
func (t *Tables) trustObject(r *incr.Reader, from model.Ref, ref Reference) (to model.Ref, problem string) {
	named := cmp.Or(ref.Authority, ref.Revoked)
	to = named.trustRef(from.Namespace)
	switch {
	case ref.Authority != nil && !holdsBundles(to):
		return to, wrongBundleKind(to)
	case ref.Authority == nil && (to.Kind == model.KindClusterTrustBundle || !holdsBundles(to)):
		return to, fmt.Sprintf("%s of group %q cannot hold certificate revocation lists: use a ConfigMap or a Secret",
			to.Kind, to.Group)
	case to.Namespace != "" && !t.granted(r, from, to):
		return to, fmt.Sprintf("No ReferenceGrant in namespace %s lets a %s of namespace %s use %s",
			to.Namespace, from.Kind, from.Namespace, to)
	case ref.Authority != nil:
		return to, t.bundleProblem(r, to)
	}
	list, ok := incr.Get(r, t.revocations, to)
	switch {
	case !ok:
		return to, fmt.Sprintf("%s does not exist", to)
	case list.Problem != "":
		return to, fmt.Sprintf("%s is not valid: %s", to, list.Problem)
	}
	return to, ""
}

// revocation returns the revocation lists that an object holds.
func (t *Tables) revocation(r *incr.Reader, key model.Ref) (*bundle, bool) {
	if key.Group != model.GroupCore || key.Kind != model.KindSecret && key.Kind != model.KindConfigMap {
		return nil, false
	}
	data := t.objectData(r, key)
	if data == nil {
		return nil, false
	}
	text, ok := data[crlKey]
	if !ok {
		return &bundle{Problem: "it has no key " + crlKey}, true
	}
	lists, err := readRevocations(text)
	if err != nil {
		return &bundle{Problem: crlKey + " " + err.Error()}, true
	}
	return &bundle{Certificates: lists}, true
}

// readRevocations returns the lists in PEM. Whether they are out of date is for Envoy to say, which lets nobody in
// then: this has no clock.
func readRevocations(data []byte) ([][]byte, error) {
	var out [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != crlBlock {
			return nil, fmt.Errorf("holds a block of type %s, which is no revocation list: remove it", block.Type)
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return nil, fmt.Errorf("holds a revocation list, number %d, that cannot be parsed: %w", len(out)+1, err)
		}
		out = append(out, block.Bytes)
	}
	if begun := bytes.Count(data, []byte("-----BEGIN ")); begun != len(out) {
		return nil, fmt.Errorf("holds %d PEM blocks of which %d are damaged", begun, begun-len(out))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("holds no revocation list in PEM: convert one in DER with openssl crl -inform der")
	}
	return out, nil
}

// revokedBy returns the revocation lists of a trust, in PEM.
func (t *Tables) revokedBy(r *incr.Reader, trust model.Trust) []byte {
	var out bytes.Buffer
	for _, ref := range trust.Revoked() {
		list, ok := incr.Get(r, t.revocations, ref)
		if !ok {
			continue
		}
		for _, der := range list.Certificates {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: crlBlock, Bytes: der}))
		}
	}
	return out.Bytes()
}

// trustsOfClients returns the trusts that fields of a policy have in clients.
func trustsOfClients(_ model.Ref, fields *policyFields) []model.Trust {
	var out []model.Trust
	for _, a := range fields.Attached {
		if a.Trust != (model.Trust{}) {
			out = append(out, a.Trust)
		}
	}
	return out
}
