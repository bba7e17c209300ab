package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// TestTrust: a trust says itself what it is made of, whatever the order in which that was said, also when it is too
// much for a name.
func TestTrust(t *testing.T) {
	var many []model.Ref
	for i := range 16 {
		many = append(many, model.Ref{
			Kind: model.KindConfigMap, Name: model.Name{Namespace: "a-namespace", Name: fmt.Sprintf("authority-%02d", i)},
		})
	}
	bundle := model.Ref{
		Group: model.GroupCertificates, Kind: model.KindClusterTrustBundle, Name: model.Name{Name: "example.com:ca:v1"},
	}
	for _, refs := range [][]model.Ref{many[:1], {bundle}, append([]model.Ref{bundle}, many...)} {
		want := slices.Clone(refs)
		slices.SortFunc(want, func(a, b model.Ref) int {
			return strings.Compare(strings.ToLower(a.Kind)+a.Name.String(), strings.ToLower(b.Kind)+b.Name.String())
		})
		there := model.TrustIn(refs)
		slices.Reverse(refs)
		if back := model.TrustIn(append(refs, refs[0])); back != there || back.Compare(there) != 0 {
			t.Errorf("%s and %s should be the same", there, back)
		}
		if got := there.Bundles(); !slices.Equal(got, want) {
			t.Errorf("%s is made of %v, want %v", there, got, want)
		}
		if name := there.String(); len(name) > 203 || !strings.HasPrefix(name, "ca:") {
			t.Errorf("the name is %q", name)
		}
	}
	if got := append(model.SystemTrust.Bundles(), model.Trust{}.Bundles()...); got != nil {
		t.Errorf("the system's CAs, and nobody, are made of %v", got)
	}
}

// TestSplitOfSecureBackends: the parts of a split keep what tells their clusters apart.
func TestSplitOfSecureBackends(t *testing.T) {
	name := model.Name{Namespace: "shop", Name: "cart"}
	for _, key := range []model.BackendKey{
		{Kind: model.KindService, Name: name, Port: 80, Use: model.AppGRPC, Client: name},
		{Kind: model.KindBackend, Name: name, Client: name},
		{Kind: model.KindBackend, Name: name, Passthrough: true},
		{Kind: model.KindBackend, Name: name, Options: model.TLSSettings{
			MaxVersion: "1.2", ALPN: []string{"h2", "http/1.1"}, Ciphers: []string{"[A|B]"},
		}.Options()},
		{Kind: model.KindXBackend, Name: name},
	} {
		parts := model.Split([]model.WeightedBackend{{Backend: key, Weight: 3}}).Parts()
		if want := (model.WeightedBackend{Backend: key, Weight: 3}); len(parts) != 1 || parts[0].Backend != want.Backend {
			t.Errorf("got %+v, want %+v", parts, want)
		}
	}
}

// TestRevocation: what is revoked is part of a trust and of its name, and apart from what is trusted.
func TestRevocation(t *testing.T) {
	object := func(name string) model.Ref {
		return model.Ref{Kind: model.KindConfigMap, Name: model.Name{Namespace: "ns", Name: name}}
	}
	plain := model.TrustIn([]model.Ref{object("ca")})
	less := plain.But([]model.Ref{object("b"), object("a"), object("b")})
	if less == plain || less.String() == plain.String() || plain.But(nil) != plain {
		t.Errorf("%s and %s should differ, and nothing revoked change nothing", less, plain)
	}
	if got, want := less.Revoked(), []model.Ref{object("a"), object("b")}; !slices.Equal(got, want) {
		t.Errorf("%s revokes %v, want %v", less, got, want)
	}
	if got, want := less.Bundles(), plain.Bundles(); !slices.Equal(got, want) || len(plain.Revoked()) > 0 {
		t.Errorf("%s trusts %v, want %v; %s revokes %v", less, got, want, plain, plain.Revoked())
	}
}
