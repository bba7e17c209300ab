package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gateway/sluice/internal/pki"
)

// seedKey is what the Secret has the seed under.
const seedKey = "seed"

// Seed returns the seed that all replicas share in a Secret of that name. Whichever is first makes it; after that it is
// never changed. To end all sessions, an operator deletes the Secret and restarts the replicas.
func Seed(ctx context.Context, secrets corev1client.SecretInterface, name string) (pki.Seed, error) {
	fail := func(err error) (pki.Seed, error) {
		return pki.Seed{}, fmt.Errorf("seed of sessions in Secret %s: %w", name, err)
	}
	secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		secret, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeOpaque,
			Data: map[string][]byte{seedKey: pki.NewSeed().Marshal()},
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // another replica was first
			secret, err = secrets.Get(ctx, name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return fail(err)
	}
	seed, err := pki.ParseSeed(secret.Data[seedKey])
	if err != nil {
		return fail(fmt.Errorf("it cannot be read, delete it to have it made anew: %w", err))
	}
	return seed, nil
}
