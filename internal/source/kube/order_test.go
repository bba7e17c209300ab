package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/resource"
)

const proxy model.ProxyName = "p"

// gatewayOf is a class and a Gateway with an HTTPS listener for the Secret cert.
func gatewayOf() []resource.Object {
	g := &gwv1.Gateway{TypeMeta: typed("gateway.networking.k8s.io/v1", "Gateway"), ObjectMeta: named("gw")}
	group, kind, same, terminate := gwv1.Group(""), gwv1.Kind("Secret"), gwv1.NamespacesFromSame, gwv1.TLSModeTerminate
	g.Spec = gwv1.GatewaySpec{GatewayClassName: "sluice", Listeners: []gwv1.Listener{{
		Name: "https", Port: 8443, Protocol: gwv1.HTTPSProtocolType,
		AllowedRoutes: &gwv1.AllowedRoutes{Namespaces: &gwv1.RouteNamespaces{From: &same}},
		TLS: &gwv1.ListenerTLSConfig{Mode: &terminate, CertificateRefs: []gwv1.SecretObjectReference{{
			Group: &group, Kind: &kind, Name: "cert",
		}}},
	}}}
	return []resource.Object{
		&gwv1.GatewayClass{
			TypeMeta:   typed("gateway.networking.k8s.io/v1", "GatewayClass"),
			ObjectMeta: metav1.ObjectMeta{Name: "sluice"}, Spec: gwv1.GatewayClassSpec{ControllerName: "example.com/ours"},
		}, g,
	}
}

// certificate is a Secret with a certificate.
func certificate(t *testing.T) resource.Object {
	t.Helper()
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(time.Now()); err != nil {
		t.Fatal(err)
	}
	a := pki.NewAuthority(time.Now)
	a.Set(roster)
	pair, err := a.Issue(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		TypeMeta: typed("v1", "Secret"), ObjectMeta: named("cert"), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key},
	}
}

// served runs what a watcher passes on through the pipeline.
type served struct {
	*watcher
	pipeline *pipeline.Pipeline
	statuses map[string]string
}

func newServed(t *testing.T) *served {
	s := &served{watcher: newWatcher(t), statuses: map[string]string{}}
	s.pipeline = pipeline.New(pipeline.Options{
		Controllers: []string{"example.com/ours"}, Proxies: []model.ProxyName{proxy}, Chain: all.Chain(),
		Proxy: func(model.Name) model.ProxyName { return proxy }, Bind: "0.0.0.0", Workers: 1,
		Publish: func(st pipeline.Status) {
			data, err := json.Marshal(st.Status)
			if err != nil {
				t.Error(err)
			}
			s.statuses[st.Ref.String()] = string(data)
		},
	})
	return s
}

func (s *served) apply() {
	b := s.out.take()
	s.pipeline.Apply(b.Set, b.Delete, nil)
}

// contents is all that Envoys are told and objects are said, as comparable text.
func (s *served) contents() map[string]string {
	out := maps.Clone(s.statuses)
	for typ, list := range s.pipeline.Resources(proxy) {
		for _, r := range list {
			text := fmt.Sprintf("%x %s needs %v", r.Hash, r.Body, r.Needs)
			for p := range r.Parts.All() {
				text += fmt.Sprintf("\n%s %s needs %v", p.Name, p.Body, p.Needs)
			}
			out[typ.String()+" "+r.Name] = text
		}
	}
	return out
}

// TestOrderOfWatchesChangesNothing: whatever the order in which kinds arrive, at whatever distance, in the end Envoys
// have the same bytes and objects the same statuses.
func TestOrderOfWatchesChangesNothing(t *testing.T) {
	service, slice := serviceWith("a", 80), sliceWith("a", 80)
	service.Namespace, slice.Namespace = "other", "other"
	route := routeTo("r", "1", "other/a:80")
	route.Spec.ParentRefs = []gwv1.ParentReference{{Name: "gw"}}
	objects := []resource.Object{service, slice, route, grantFor("other"), certificate(t)}
	rng := rand.New(rand.NewPCG(1, 2))
	var want map[string]string
	for _, order := range permutations(len(objects)) {
		synctest.Test(t, func(t *testing.T) {
			s := newServed(t)
			s.comes(gatewayOf()...)
			s.apply()
			for _, k := range order {
				s.comes(objects[k])
				switch rng.IntN(4) {
				case 0:
					s.apply()
				case 1:
					time.Sleep(hold)
					synctest.Wait()
					s.apply()
				}
			}
			time.Sleep(hold)
			synctest.Wait()
			s.apply()
			s.idle()
			got := s.contents()
			if want == nil {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%v: %s", order, diff)
			}
		})
		if t.Failed() {
			return
		}
	}
	text := fmt.Sprint(want)
	for _, wrong := range []string{"BackendNotFound", "RefNotPermitted", "InvalidCertificateRef"} {
		if strings.Contains(text, wrong) {
			t.Errorf("in the end there is %s: %s", wrong, text)
		}
	}
	if !strings.Contains(text, "192.0.2.1") || !strings.Contains(text, "service/other/a/80") {
		t.Errorf("in the end the route does not lead to its endpoint: %s", text)
	}
}
