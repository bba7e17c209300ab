package resolve

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// minRSABits is the smallest RSA key that Envoy loads.
const minRSABits = 2048

// Certificate is a certificate chain, leaf first, and its key, both as canonical PEM.
type Certificate struct {
	Chain, Key []byte
}

// pair is what a Secret holds as a certificate.
type pair struct {
	Certificate
	// Problem is why it cannot be used; empty if it can.
	Problem string
}

// addCertificatePairs reads each Secret with a certificate once, however many listeners, Gateways and backends name it.
func (t *Tables) addCertificatePairs(e *incr.Engine) {
	named := incr.NewIndex(e, "named secrets", t.ours, func(key model.Name, own *ownGateway) []model.Name {
		var out []model.Name
		for i := range own.Gateway.Spec.Listeners {
			out = append(out, certificatesOf(own.Gateway.Spec.Listeners[i].TLS, key.Namespace)...)
		}
		if tls := own.Gateway.Spec.TLS; tls != nil && tls.Backend != nil && tls.Backend.ClientCertificateRef != nil {
			out = append(out, secretRef(*tls.Backend.ClientCertificateRef, key.Namespace).Name)
		}
		return out
	})
	namedBySets := incr.NewIndex(e, "secrets of listenersets", t.in.sets,
		func(key model.Name, set *gwv1.ListenerSet) []model.Name {
			var out []model.Name
			for i := range set.Spec.Listeners {
				out = append(out, certificatesOf(set.Spec.Listeners[i].TLS, key.Namespace)...)
			}
			return out
		})
	namedByBackends := incr.NewIndex(e, "secrets of backends", t.in.backends,
		func(key model.Name, b *egv1a1.Backend) []model.Name {
			if b.Spec.TLS == nil || b.Spec.TLS.BackendTLSConfig == nil {
				return nil
			}
			return clientSecret(b.Spec.TLS.ClientCertificateRef, key.Namespace)
		})
	namedByXBackends := incr.NewIndex(e, "secrets of xbackends", t.in.xbackends,
		func(key model.Name, b *gwxv1a1.XBackend) []model.Name {
			if b.Spec.TLS == nil {
				return nil
			}
			return clientSecret(b.Spec.TLS.ClientCertificateRef, key.Namespace)
		})
	namedByProxies := incr.NewIndex(e, "secrets of envoyproxies", t.in.envoyProxies,
		func(key model.Name, p *egv1a1.EnvoyProxy) []model.Name {
			if p.Spec.BackendTLS == nil {
				return nil
			}
			return clientSecret(p.Spec.BackendTLS.ClientCertificateRef, key.Namespace)
		})
	t.pairs = incr.NewTable(e, "certificate pairs", func(r *incr.Reader, key model.Name) (*pair, bool) {
		secret, ok := incr.Get(r, t.in.secrets, key)
		if !ok {
			return nil, false
		}
		cert, err := readPair(secret)
		if err != nil {
			return &pair{Problem: err.Error()}, true
		}
		return &pair{Certificate: cert}, true
	}, named, namedBySets, namedByBackends, namedByXBackends, namedByProxies)
}

// clientSecret returns the Secret with a client certificate that an object of a namespace names, if it does.
func clientSecret(ref *gwv1.SecretObjectReference, namespace string) []model.Name {
	if ref == nil {
		return nil
	}
	return []model.Name{secretRef(*ref, namespace).Name}
}

// certificatesOf returns the Secrets that a listener of a namespace names.
func certificatesOf(tls *gwv1.ListenerTLSConfig, namespace string) []model.Name {
	if tls == nil {
		return nil
	}
	out := make([]model.Name, 0, len(tls.CertificateRefs))
	for _, ref := range tls.CertificateRefs {
		out = append(out, secretRef(ref, namespace).Name)
	}
	return out
}

// addCertificates adds the pairs that listeners serve, and those that are shown to backends.
func (t *Tables) addCertificates(e *incr.Engine) {
	served := incr.NewIndex(e, "served secrets", t.contenders, func(_ model.ListenerKey, c *contender) []model.Name {
		return c.Listener.Certificates
	})
	shown := incr.NewIndex(e, "client secrets", t.Gateways, func(_ model.Name, gw Gateway) []model.Name {
		if gw.Client.Secret == (model.Name{}) {
			return nil
		}
		return []model.Name{gw.Client.Secret}
	})
	shownByBackends := incr.NewIndex(e, "client secrets of backends", t.ownTLS,
		func(_ model.Ref, own *ownTLS) []model.Name {
			if own.TLS == nil || own.TLS.Client == (model.Name{}) {
				return nil
			}
			return []model.Name{own.TLS.Client}
		})
	t.Certificates = incr.NewTable(e, "certificates", func(r *incr.Reader, key model.Name) (Certificate, bool) {
		p, ok := incr.Get(r, t.pairs, key)
		if !ok || p.Problem != "" {
			return Certificate{}, false
		}
		return p.Certificate, true
	}, served, shown, shownByBackends)
}

// readPair checks that a Secret holds a certificate chain and the key of its leaf, of a kind that Envoy (BoringSSL)
// loads: one that it does not load would cost the whole listener. The PEM is written anew, so that line ends and text
// between the blocks cannot matter. Errors never quote the Secret's content.
func readPair(secret *corev1.Secret) (Certificate, error) {
	chain, leaf, err := readChain(secretData(secret, corev1.TLSCertKey))
	if err != nil {
		return Certificate{}, err
	}
	key, signer, err := readKey(secretData(secret, corev1.TLSPrivateKeyKey))
	if err != nil {
		return Certificate{}, err
	}
	if err := checkKey(leaf.PublicKey); err != nil {
		return Certificate{}, err
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(signer.Public()) {
		return Certificate{}, errors.New("the key in tls.key does not belong to the first certificate in tls.crt")
	}
	return Certificate{Chain: chain, Key: key}, nil
}

func secretData(secret *corev1.Secret, key string) []byte {
	if s, ok := secret.StringData[key]; ok {
		return []byte(s)
	}
	return secret.Data[key]
}

func readChain(data []byte) ([]byte, *x509.Certificate, error) {
	var out bytes.Buffer
	var leaf *x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, errors.New("tls.crt holds a certificate that cannot be parsed")
		}
		if leaf == nil {
			leaf = cert
		}
		if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, nil, fmt.Errorf("tls.crt cannot be written as PEM: %w", err)
		}
	}
	if leaf == nil {
		return nil, nil, errors.New("tls.crt holds no PEM certificate")
	}
	return out.Bytes(), leaf, nil
}

func readKey(data []byte) ([]byte, crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		signer, ok := parseKey(block.Bytes)
		if !ok {
			return nil, nil, errors.New("tls.key holds a private key that cannot be parsed: it must not be encrypted")
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), signer, nil
	}
	return nil, nil, errors.New("tls.key holds no PEM private key")
}

func parseKey(der []byte) (crypto.Signer, bool) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, ok := key.(crypto.Signer)
		return signer, ok
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, true
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, true
	}
	return nil, false
}

// checkKey refuses the public keys with which Envoy refuses a certificate.
func checkKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return fmt.Errorf("the certificate's RSA key has %d bits: it needs %d or more", key.N.BitLen(), minRSABits)
		}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return fmt.Errorf("the certificate's curve %s is not supported: use P-256, P-384 or P-521",
				key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("the certificate's kind of key is not supported: use RSA, ECDSA or Ed25519")
	}
	return nil
}
