package kube

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// authorityKey is where a Secret of type kubernetes.io/tls has what its holder trusts.
const authorityKey = "ca.crt"

// syncRateLimit keeps the certificate of the rate-limit service. It is made anew in the second half of its life, and
// when other authorities are to be trusted.
func (k *Keeper) syncRateLimit(ctx context.Context) error {
	secret, err := k.o.Secrets.Get(ctx, k.o.RateLimit, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err //nolint:wrapcheck // Sync looks at what kind of error it is, and says what it is about
	}
	if !missing && bytes.Equal(secret.Data[authorityKey], k.authority.Bundle()) && k.young(secret) {
		return nil
	}
	pair, err := k.authority.IssueRateLimit()
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if missing {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: k.o.RateLimit}, Type: corev1.SecretTypeTLS}
	}
	secret.Data = map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, authorityKey: pair.CA,
	}
	if missing {
		_, err = k.o.Secrets.Create(ctx, secret, metav1.CreateOptions{})
	} else {
		_, err = k.o.Secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	return err //nolint:wrapcheck // as above
}

// young says whether the certificate in a Secret is in the first half of its life.
func (k *Keeper) young(secret *corev1.Secret) bool {
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return false
	}
	now := k.o.Now()
	return !now.Before(cert.NotBefore) && now.Before(cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore)/2))
}
