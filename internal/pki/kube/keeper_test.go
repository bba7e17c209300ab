package kube_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/pki/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// replica is one keeper with its authority.
type replica struct {
	*kube.Keeper
	*pki.Authority
}

func trusts(t *testing.T, r replica) []byte {
	t.Helper()
	p, err := r.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	return p.CA
}

func TestKeeper(t *testing.T) {
	server := apiserver.Start(t)
	client, err := corev1client.NewForConfig(server.Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.Secrets("default")
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	replicas := make([]replica, 4)
	for i := range replicas {
		a := pki.NewAuthority(clock)
		replicas[i] = replica{kube.New(kube.Options{
			Secrets: secrets, Name: "authorities", Term: pki.DefaultTerm, Now: clock, Log: slog.New(slog.DiscardHandler),
		}, a), a}
	}
	syncAll := func() {
		var all sync.WaitGroup
		for _, r := range replicas {
			all.Go(func() {
				if err := r.Sync(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	same := func(when string) []byte {
		first := trusts(t, replicas[0])
		for i, r := range replicas[1:] {
			if !bytes.Equal(trusts(t, r), first) {
				t.Errorf("%s replica %d trusts something else", when, i+1)
			}
		}
		return first
	}
	// All start at once: one makes the Secret, the others read it.
	syncAll()
	before := same("at the start")
	mu.Lock()
	now = now.Add(pki.DefaultTerm.CA/2 + time.Hour)
	mu.Unlock()
	syncAll()
	syncAll()
	after := same("after half a life")
	if bytes.Equal(before, after) || !bytes.Contains(after, before) {
		t.Error("the next authority is not trusted beside the last")
	}

	// From now on it is someone else's, in a Secret as cert-manager keeps it.
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(clock()); err != nil {
		t.Fatal(err)
	}
	data, err := roster.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("-----BEGIN PRIVATE"))
	_, err = secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": roster.Bundle(), "tls.key": data[at:], "ca.crt": roster.Bundle()},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := pki.NewAuthority(clock)
	adopter := replica{kube.New(kube.Options{
		Secrets: secrets, Name: "authorities", CA: "theirs", Term: pki.DefaultTerm, Now: clock,
	}, a), a}
	if err := adopter.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := trusts(t, adopter); !bytes.Contains(all, roster.Bundle()) || !bytes.Contains(all, after) {
		t.Error("theirs is not trusted beside the others")
	}
	missing := kube.New(kube.Options{
		Secrets: secrets, Name: "authorities", CA: "nowhere", Term: pki.DefaultTerm, Now: clock,
	}, pki.NewAuthority(clock))
	if err := missing.Sync(t.Context()); err == nil {
		t.Error("a CA that is not there is no error")
	}
}
