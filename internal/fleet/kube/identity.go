package kube

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// annotationRenew, on the Secret of a fleet, is when its certificate is to be replaced.
const annotationRenew = "sluice.dev/renew"

// secret returns the Secret with the certificate of the fleet as it should be, nil if the one that is there will do.
func (c *change) secret() (*unstructured.Unstructured, error) {
	live, s := c.liveSecret(), c.state
	newTerm, newAuthority := s.term != c.term, s.authority != c.authority
	known := s.authority >= 0
	if s.issued != nil && !newAuthority && time.Now().Before(s.renew) && (live == nil || intact(live)) {
		s.term = c.term
		return s.issued, nil
	}
	renew := time.Time{}
	if live != nil && intact(live) {
		renew, _ = time.Parse(time.RFC3339, live.GetAnnotations()[annotationRenew]) // no time has passed
	}
	fresh := time.Now().Before(renew) && (!newAuthority || !known)
	if fresh && !newTerm {
		return nil, nil //nolint:nilnil // nothing to write
	}
	certificate, key, ca, next, err := c.m.opts.Identity.Proxy(c.name)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	s.term, s.authority = c.term, c.authority
	if fresh && bytes.Equal(ca, field(live, "ca.crt")) {
		// Another leader has seen to it.
		s.issued = nil
		c.m.queue.AddAfter(c.name, time.Until(renew))
		return nil, nil //nolint:nilnil // nothing to write
	}
	c.m.queue.AddAfter(c.name, time.Until(next))
	s.renew = next
	s.issued, err = c.newSecret(certificate, key, ca, next)
	return s.issued, err
}

func (c *change) newSecret(certificate, key, ca []byte, renew time.Time) (*unstructured.Unstructured, error) {
	out := &corev1.Secret{
		TypeMeta: typeMeta("v1", "Secret"), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key, "ca.crt": ca},
	}
	out.Name = identityName(c.fleet.Name)
	out.Annotations = map[string]string{
		annotationRenew: renew.UTC().Format(time.RFC3339), annotationConfig: dataHash(certificate, key, ca),
	}
	r := &renderer{fleet: c.fleet, settings: c.m.opts.Settings}
	return r.finish(out)
}

func dataHash(certificate, key, ca []byte) string {
	return hash(bytes.Join([][]byte{certificate, key, ca}, []byte{0}))
}

// intact says whether a Secret holds what was put there.
func intact(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()[annotationConfig] ==
		dataHash(field(o, corev1.TLSCertKey), field(o, corev1.TLSPrivateKeyKey), field(o, "ca.crt"))
}

func field(o *unstructured.Unstructured, key string) []byte {
	text, _, err := unstructured.NestedString(o.Object, "data", key)
	if err != nil {
		return nil
	}
	out, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return out
}

func (c *change) liveSecret() *unstructured.Unstructured {
	for _, o := range c.live {
		if id(o) == "Secret/"+identityName(c.fleet.Name) {
			return o
		}
	}
	return nil
}
