// Package kube keeps the control plane's certificate authorities in a Secret, where all replicas find them.
//
// Whichever replica is first makes the Secret, and whichever first sees that it is time changes it; the API server's
// optimistic concurrency makes them agree.
package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gateway/sluice/internal/pki"
)

const (
	// rosterKey holds the authorities with their keys, bundleKey what is to be trusted, for whoever looks.
	rosterKey, bundleKey = "authorities.pem", "ca.crt"
	// Every is how often the Secrets are looked at. A new authority is trusted for much longer before it signs.
	Every = time.Minute
)

// Options say where the authorities are kept.
type Options struct {
	Secrets corev1client.SecretInterface
	// Name is that of the Secret in which the authorities are kept.
	Name string
	// CA is the name of a kubernetes.io/tls Secret with an authority that someone else makes and renews, such as
	// cert-manager. Empty has the control plane make its own.
	CA   string
	Term pki.Term
	Log  *slog.Logger
	// Now is the clock: time.Now, but in tests.
	Now func() time.Time
	// RateLimit is the name of a kubernetes.io/tls Secret to keep with a certificate of the rate-limit service, and what
	// it is to trust; empty keeps none.
	RateLimit string
}

// Keeper keeps an authority as the Secret has it.
type Keeper struct {
	o         Options
	authority *pki.Authority
	last      []byte
}

// New returns a keeper of an authority that has no CA yet.
func New(o Options, authority *pki.Authority) *Keeper { return &Keeper{o: o, authority: authority} }

// Sync brings the Secret and the authority up to date.
func (k *Keeper) Sync(ctx context.Context) error {
	const attempts = 5
	var err error
	for range attempts {
		err = k.sync(ctx)
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("certificate authorities in Secret %s: %w", k.o.Name, err)
	}
	if k.o.RateLimit == "" {
		return nil
	}
	err = k.syncRateLimit(ctx)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) { // else another replica was first
		return fmt.Errorf("certificate of the rate-limit service in Secret %s: %w", k.o.RateLimit, err)
	}
	return nil
}

func (k *Keeper) sync(ctx context.Context) error {
	secret, err := k.o.Secrets.Get(ctx, k.o.Name, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err //nolint:wrapcheck // Sync looks at what kind of error it is, and says what it is about
	}
	if missing {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: k.o.Name}, Type: corev1.SecretTypeOpaque}
	}
	roster, err := pki.ParseRoster(secret.Data[rosterKey], k.o.Term)
	if err != nil {
		return fmt.Errorf("it cannot be read, delete it to have it made anew: %w", err)
	}
	roster, changed, err := k.advance(ctx, roster)
	if err != nil {
		return err
	}
	data, err := roster.Marshal()
	if err != nil {
		return fmt.Errorf("marshal: %w", err)
	}
	secret.Data = map[string][]byte{rosterKey: data, bundleKey: roster.Bundle()}
	switch {
	case missing:
		_, err = k.o.Secrets.Create(ctx, secret, metav1.CreateOptions{})
	case changed:
		_, err = k.o.Secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	if !bytes.Equal(k.last, data) {
		// Only what is kept is used: others must come to know it too.
		k.last = data
		k.authority.Set(roster)
	}
	return nil
}

// advance returns the authorities as they should be now.
func (k *Keeper) advance(ctx context.Context, roster pki.Roster) (pki.Roster, bool, error) {
	now := k.o.Now()
	if k.o.CA == "" {
		return wrap(roster.Advance(now))
	}
	ca, err := k.o.Secrets.Get(ctx, k.o.CA, metav1.GetOptions{})
	if err != nil {
		return roster, false, fmt.Errorf("the CA's Secret %s: %w", k.o.CA, err)
	}
	return wrap(roster.Adopt(ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey], now))
}

func wrap(r pki.Roster, changed bool, err error) (pki.Roster, bool, error) {
	if err != nil {
		return r, false, fmt.Errorf("advance: %w", err)
	}
	return r, changed, nil
}

// Run calls Sync every interval until the context ends. What goes wrong is logged: what was last read stays in use.
func (k *Keeper) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := k.Sync(ctx); err != nil && ctx.Err() == nil {
			k.o.Log.Warn("The certificate authorities cannot be kept up to date", "error", err)
		}
	}
}
