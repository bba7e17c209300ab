package kube

import (
	"log/slog"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// testTerminating has the namespace of a fleet deleted, whose objects go before the Gateway does. There is no namespace
// controller here, so that the test takes them away.
func testTerminating(b *bench) {
	var log lines
	b.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	f := b.fleetIn("doomed", asDeployment)
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	namespaces := b.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if err := namespaces.Delete(b.t.Context(), "doomed", metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
	before := b.requests.writes.Load()
	for _, kind := range []string{"Deployment", "ConfigMap"} {
		for _, o := range b.live(f.Proxy) {
			if o.GetKind() != kind {
				continue
			}
			if err := b.objects(kind, "doomed").Delete(b.t.Context(), o.GetName(), metav1.DeleteOptions{}); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.eventually("an attempt to make what is missing", func() bool { return b.requests.writes.Load() > before })
	b.eventually("the end of it", func() bool {
		return b.queue.Len() == 0 && b.queue.NumRequeues(f.Proxy) == 0 && len(b.live(f.Proxy)) > 0
	})
	if p := b.placement(f.Proxy); strings.Contains(p.Message, "terminat") {
		b.t.Errorf("the user is told to mend what is being deleted: %s", p.Message)
	}
	// The Gateway goes at last.
	b.Want(f.Proxy, nil)
	b.eventually("the end of what is left", func() bool { return len(b.live(f.Proxy)) == 0 })
	const most = 12 // two attempts, and what is left taken away
	if n := b.requests.writes.Load() - before; n > most {
		b.t.Errorf("%d requests were made in the namespace, want at most %d", n, most)
	}
	if got := log.String(); strings.Contains(got, "ERROR") {
		b.t.Errorf("errors were logged:\n%s", got)
	}
}
