package pipeline_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

func listenerSet(name, hostname string) source.Object {
	return source.Object{Ref: refOf(model.GroupGateway, model.KindListenerSet, name), Object: &gwv1.ListenerSet{
		ObjectMeta: meta(name),
		Spec: gwv1.ListenerSetSpec{
			ParentRef: gwv1.ParentGatewayReference{Name: "gw"},
			Listeners: []gwv1.ListenerEntry{{
				Name: "x", Port: 8080, Protocol: gwv1.HTTPProtocolType, Hostname: ptr(gwv1.Hostname(hostname)),
			}},
		},
	}}
}

// hosting is base with a Gateway that lets in the ListenerSets of its namespace.
func hosting() []source.Object {
	out := base()
	out[1].Object.(*gwv1.Gateway).Spec.AllowedListeners = &gwv1.AllowedListeners{
		Namespaces: &gwv1.ListenerNamespaces{From: ptr(gwv1.NamespacesFromSame)},
	}
	return out
}

// board keeps the last published Programmed conditions: of objects by name, of listeners by name/listener; and how
// often each object was published since it was last asked.
type board struct {
	programmed map[string]string
	published  map[string]int
}

func (b *board) publish(s pipeline.Status) {
	b.published[s.Ref.Name.Name]++
	status.EachCondition(s.Status, func(section string, c *metav1.Condition) {
		if c.Type == status.Programmed {
			name := s.Ref.Name.Name
			if section != "" {
				name += "/" + section
			}
			b.programmed[name] = string(c.Status) + "/" + c.Reason
		}
	})
}

// TestListenerSetIsProgrammedOnceLive: a new ListenerSet waits for Envoy's ACK, and those that were there before stay
// programmed and are not published again.
func TestListenerSetIsProgrammedOnceLive(t *testing.T) {
	b := &board{programmed: map[string]string{}, published: map[string]int{}}
	version := uint64(0)
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(model.ProxyName, []xds.Change) uint64 { version++; return version }
		o.Publish = b.publish
		o.Addresses = []gwv1.GatewayStatusAddress{{Value: "192.0.2.1"}}
	})
	live := func() { p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: version}) }
	p.Apply(append(hosting(), listenerSet("old", "old.example")), nil, nil)
	if got := b.programmed["old"]; got != "False/Pending" {
		t.Errorf("before Envoy has answered Programmed is %s", got)
	}
	live()
	want := map[string]string{
		"gw": "True/Programmed", "gw/listener http": "True/Programmed",
		"old": "True/Programmed", "old/listener x": "True/Programmed",
	}
	if diff := cmp.Diff(want, b.programmed); diff != "" {
		t.Error(diff)
	}

	clear(b.published)
	p.Apply([]source.Object{listenerSet("new", "new.example")}, nil, nil)
	want["new"], want["new/listener x"] = "False/Pending", "False/Pending"
	if diff := cmp.Diff(want, b.programmed); diff != "" {
		t.Errorf("while the new one waits: %s", diff)
	}
	live()
	want["new"], want["new/listener x"] = "True/Programmed", "True/Programmed"
	if diff := cmp.Diff(want, b.programmed); diff != "" {
		t.Errorf("once it is live: %s", diff)
	}
	// The Gateway counts its ListenerSets.
	if diff := cmp.Diff(map[string]int{"gw": 1, "new": 2}, b.published); diff != "" {
		t.Errorf("published: %s", diff)
	}
}

// TestListenerSetsOfARefusedPort: Envoy refuses the listener of a port as a whole. Once the one to blame is gone, the
// others wait for Envoy's ACK before they are said to be programmed.
func TestListenerSetsOfARefusedPort(t *testing.T) {
	b := &board{programmed: map[string]string{}, published: map[string]int{}}
	version := uint64(0)
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(model.ProxyName, []xds.Change) uint64 { version++; return version }
		o.Publish = b.publish
		o.Addresses = []gwv1.GatewayStatusAddress{{Value: "192.0.2.1"}}
	})
	secure := func(name, hostname string) source.Object {
		set := listenerSet(name, hostname)
		l := &set.Object.(*gwv1.ListenerSet).Spec.Listeners[0]
		l.Port, l.Protocol = 8443, gwv1.HTTPSProtocolType
		l.TLS = &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "cert"}}}
		return set
	}
	good, bad := secure("good", "good.example"), secure("bad", "bad.example")
	live := func() { p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: version}) }
	p.Apply(append(hosting(), certificate(t), good, bad), nil, nil)
	live()
	if got := b.programmed["good"]; got != "True/Programmed" {
		t.Fatalf("when live Programmed is %s", got)
	}
	p.Observe(xds.Event{
		Kind: xds.Rejected, Proxy: proxy, Type: xds.Listener, Resource: "tcp/8443", Message: "no such thing",
		Owners: []model.Ref{good.Ref, bad.Ref},
	})
	if got := b.programmed["good"]; got != "False/Pending" {
		t.Errorf("after Envoy has refused the listener Programmed is %s", got)
	}
	b.programmed = map[string]string{}
	p.Apply(nil, []model.Ref{bad.Ref}, nil)
	if got := b.programmed["good"]; got != "False/Pending" {
		t.Errorf("before Envoy has answered Programmed is %s", got)
	}
	live()
	if got := b.programmed["good"]; got != "True/Programmed" {
		t.Errorf("after the one to blame is gone Programmed is %s", got)
	}
}

// certificate is a Secret with a certificate that signs itself.
func certificate(t *testing.T) source.Object {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return source.Object{Ref: refOf(model.GroupCore, model.KindSecret, "cert"), Object: &corev1.Secret{
		ObjectMeta: meta("cert"),
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}}
}

// TestStrayListenerSets: where there is no other controller, a ListenerSet without its Gateway and a route without its
// ListenerSet, or without a default Gateway, are reported.
func TestStrayListenerSets(t *testing.T) {
	p := newPipeline(func(o *pipeline.Options) { o.Alone = true })
	set := listenerSet("set", "set.example")
	r := route("r", "set.example", "/", "b")
	spec := &r.Object.(*gwv1.HTTPRoute).Spec
	spec.ParentRefs[0].Kind, spec.ParentRefs[0].Name = ptr(gwv1.Kind(model.KindListenerSet)), "set"
	d := route("d", "set.example", "/", "b")
	d.Object.(*gwv1.HTTPRoute).Spec.ParentRefs = nil
	d.Object.(*gwv1.HTTPRoute).Spec.UseDefaultGateways = gwv1.GatewayDefaultScopeAll
	const (
		noSet     = "HTTPRoute/ns/r: spec.parentRefs[0]: There is no ListenerSet ns/set (NoMatchingParent)"
		noGateway = "ListenerSet/ns/set: spec.parentRef: There is no Gateway ns/gw (NoMatchingParent)"
		noDefault = "HTTPRoute/ns/d: spec.useDefaultGateways: There is no default Gateway, so the route serves nothing: " +
			"write spec.defaultScope: All in a Gateway, or name a Gateway in parentRefs (NoMatchingParent)"
	)
	issues := func() []string {
		out := []string{}
		for _, i := range p.Issues() {
			out = append(out, i.String())
		}
		return out
	}
	objects := hosting()
	objects[1].Object.(*gwv1.Gateway).Spec.DefaultScope = gwv1.GatewayDefaultScopeAll
	steps := []struct {
		name string
		set  []source.Object
		want []string
	}{
		{"routes alone", []source.Object{r, d, backend("b")}, []string{noDefault, noSet}},
		{"the ListenerSet", []source.Object{set}, []string{noDefault, noGateway}},
		{"the Gateway and its class", objects, []string{}},
	}
	for _, s := range steps {
		p.Apply(s.set, nil, nil)
		if diff := cmp.Diff(s.want, issues()); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
	p.Apply(nil, []model.Ref{objects[1].Ref}, nil)
	if diff := cmp.Diff([]string{noDefault, noGateway}, issues()); diff != "" {
		t.Errorf("the Gateway goes: %s", diff)
	}
}
