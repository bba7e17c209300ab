package wasm

import (
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

func TestGolden(t *testing.T) { featuretest.Golden[[]egv1a1.Wasm](t, Feature{}) }

func ptr[T any](v T) *T { return &v }

func byHTTP(url string, sum *string) egv1a1.Wasm {
	return egv1a1.Wasm{Code: egv1a1.WasmCodeSource{
		Type: egv1a1.HTTPWasmCodeSourceType, HTTP: &egv1a1.HTTPWasmCodeSource{URL: url, SHA256: sum},
	}}
}

func image(url string) egv1a1.Wasm {
	return egv1a1.Wasm{Code: egv1a1.WasmCodeSource{
		Type: egv1a1.ImageWasmCodeSourceType, Image: &egv1a1.ImageWasmCodeSource{URL: url},
	}}
}

// TestCheck says what is no module.
func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		spec    egv1a1.Wasm
		fetched string
		want    string
	}{
		"module":         {byHTTP("http://a/b", nil), magic + "...", ""},
		"short":          {byHTTP("http://a/b", nil), "\x00asm", "not a Wasm module"},
		"page":           {image("a/b"), "<html>", "not a Wasm module"},
		"component":      {image("a/b"), "\x00asm\x0d\x00\x01\x00", "not a Wasm module"},
		"not there":      {image("a/b"), "", ""},
		"wrong checksum": {byHTTP("http://a/b", ptr("abc")), "", "64 hexadecimal digits"},
		"no source":      {egv1a1.Wasm{Code: egv1a1.WasmCodeSource{Type: "ConfigMap"}}, "", "no source of type ConfigMap"},
	} {
		t.Run(name, func(t *testing.T) {
			a := model.Attached{Spec: []egv1a1.Wasm{test.spec}, Fetched: []model.Fetched{featuretest.Fetched(test.fetched)}}
			featuretest.Expect(t, Feature{}.Check(a, nil), test.want)
		})
	}
}

// TestReferences says what is fetched, how often, and what can be missing.
func TestReferences(t *testing.T) {
	always := egv1a1.ImagePullPolicyAlways
	never := egv1a1.ImagePullPolicyIfNotPresent
	sum := strings.Repeat("A", 64)
	full := image("registry.example:5000/app:v1")
	full.FailOpen = ptr(true)
	full.Code.PullPolicy = &always
	full.Code.Image.PullSecretRef = &gwv1.SecretObjectReference{Name: "pull"}
	full.Code.Image.TLS = &egv1a1.WasmCodeSourceTLSConfig{CACertificateRef: gwv1.SecretObjectReference{
		Kind: ptr(gwv1.Kind("ConfigMap")), Name: "ca",
	}}
	pinned := byHTTP("https://a/b", &sum)
	pinned.Code.PullPolicy = &always
	once := image("app")
	once.Code.PullPolicy = &never
	got := Feature{}.References(model.Attached{
		Path: "spec.wasm", Spec: []egv1a1.Wasm{full, pinned, once, image("a/b:latest"), image("a:1/b@sha256:00")},
	})
	fetch := func(kind model.FetchKind, url string, every time.Duration) *resolve.FetchReference {
		return &resolve.FetchReference{Kind: kind, URL: url, Limit: maxModule, Every: every}
	}
	want := []resolve.Reference{
		{Path: "spec.wasm[0].code.image", Optional: true,
			Fetch: fetch(model.FetchWasmImage, "registry.example:5000/app:v1", refresh)},
		{Path: "spec.wasm[1].code.http", Fetch: fetch(model.FetchHTTP, "https://a/b", 0)},
		{Path: "spec.wasm[2].code.image", Fetch: fetch(model.FetchWasmImage, "app", 0)},
		{Path: "spec.wasm[3].code.image", Fetch: fetch(model.FetchWasmImage, "a/b:latest", refresh)},
		{Path: "spec.wasm[4].code.image", Fetch: fetch(model.FetchWasmImage, "a:1/b@sha256:00", 0)},
	}
	want[0].Fetch.CA = &resolve.ObjectReference{Kind: "ConfigMap", Name: "ca"}
	want[0].Fetch.Credentials = &resolve.ObjectReference{Name: "pull"}
	want[1].Fetch.SHA256 = strings.ToLower(sum)
	for i := range want {
		for _, path := range []string{"http", "image"} {
			if base, ok := strings.CutSuffix(want[i].Path, "."+path); ok {
				want[i].Fetch.CAPath = base + "." + path + ".tls.caCertificateRef"
				if path == "image" {
					want[i].Fetch.CredentialsPath = base + ".image.pullSecretRef"
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
