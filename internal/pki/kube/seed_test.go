package kube_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/pki/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// TestSeed has replicas that start at once agree on one seed.
func TestSeed(t *testing.T) {
	client, err := corev1client.NewForConfig(apiserver.Start(t).Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.Secrets("default")
	seeds := make([]pki.Seed, 4)
	var all sync.WaitGroup
	for i := range seeds {
		all.Go(func() {
			var err error
			if seeds[i], err = kube.Seed(t.Context(), secrets, "seed"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, seed := range seeds[1:] {
		if !bytes.Equal(seed.Marshal(), seeds[0].Marshal()) {
			t.Error("two replicas have different seeds")
		}
	}
	_, err = secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "broken"}, Data: map[string][]byte{"seed": []byte("short")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.Seed(t.Context(), secrets, "broken"); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a Secret without a seed: %v", err)
	}
}
