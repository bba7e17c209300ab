package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/resource"
)

var update = flag.Bool("update", false, "write the goldens anew")

// sluice runs a command and returns what it printed, and whether it failed.
func sluice(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return sluiceWith(t, "", args...)
}

// sluiceWith is [sluice] with a standard input.
func sluiceWith(t *testing.T, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// The whole of what Envoy is told of a small configuration, but for certificates.
func TestTranslateGolden(t *testing.T) {
	for _, name := range []string{"plain", "https"} {
		t.Run(name, func(t *testing.T) {
			got, problems, err := sluice(t, "translate", filepath.Join("testdata", name), certificate(t))
			if err != nil || problems != "" {
				t.Fatal(err, problems)
			}
			if strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("PRIVATE"))) {
				t.Error("a private key is printed")
			}
			if at := strings.Index(got, "\nsecrets:"); at >= 0 {
				got = got[:at+1]
			}
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run with -update to accept (-want +got):\n%s", diff)
			}
		})
	}
}

// certificate writes a Secret with a fresh certificate, and returns its file.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": map[string]string{"name": "example-com"},
		"data": map[string][]byte{
			"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFormats(t *testing.T) {
	out, _, err := sluice(t, "translate", "testdata/plain", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if again, _, _ := sluice(t, "translate", "testdata/plain", "-o", "json"); again != out {
		t.Error("the same files give other JSON")
	}
	if !json.Valid([]byte(out)) {
		t.Error("-o json does not print JSON")
	}
	if _, _, err := sluice(t, "translate", "testdata/plain", "-o", "xml"); err == nil {
		t.Error("-o xml is accepted")
	}
}

func TestValidate(t *testing.T) {
	out, _, err := sluice(t, "validate", "testdata/plain")
	if err != nil || out != "4 objects, no problems\n" {
		t.Errorf("good files: %v, %q", err, out)
	}
	out, _, err = sluice(t, "validate", "testdata/bad")
	if err == nil {
		t.Error("bad files are no error")
	}
	want := []string{
		"testdata/bad/bad.yaml:11: HTTPRoute/default/typo: spec.rules[0].backendRefs[0].prot: " +
			`unknown field "spec.rules[0].backendRefs[0].prot"`,
		"testdata/bad/bad.yaml:13: HTTPRoute/default/lost: spec.parentRefs[0]: " +
			"There is no Gateway default/nowhere (NoMatchingParent)",
		`2 problems in 1 object`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out), "\n")); diff != "" {
		t.Error(diff)
	}
}

// TestStandardInput gives commands the path -.
func TestStandardInput(t *testing.T) {
	text := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	bad, plain := text("testdata/bad/bad.yaml"), text("testdata/plain/all.yaml")
	fromFile, _, _ := sluice(t, "validate", "testdata/bad")
	out, _, err := sluiceWith(t, bad, "validate", "-")
	if err == nil || out != strings.ReplaceAll(fromFile, "testdata/bad/bad.yaml", "<stdin>") {
		t.Errorf("validate: %v, %q", err, out)
	}
	if out, _, err := sluiceWith(t, "", "validate", "-"); err == nil || !strings.Contains(out, "<stdin>: is empty") {
		t.Errorf("validate of nothing: %v, %q", err, out)
	}
	fromFile, _, _ = sluice(t, "translate", "testdata/plain")
	if out, errs, err := sluiceWith(t, plain, "translate", "-"); err != nil || errs != "" || out != fromFile {
		t.Errorf("translate: %v, %q, %q", err, errs, out)
	}
	if _, _, err := sluiceWith(t, plain, "run", "-"); err == nil || !strings.Contains(err.Error(), "standard input (-)") {
		t.Errorf("run: %v", err)
	}
}

func TestSummarize(t *testing.T) {
	var status map[string]any
	text := `{"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "fine"}],
		"listeners": [
			{"conditions": [{"type": "Accepted", "status": "False", "reason": "PortUnavailable", "message": "taken"},
				{"type": "Conflicted", "status": "False", "reason": "NoConflicts", "message": ""},
				{"type": "Programmed", "status": "False", "reason": "Invalid", "message": "see the others"}]},
			{"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "fine"}]}]}`
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	s := summarize(status)
	if s.cell("Accepted") != "False" || s.cell("ResolvedRefs") != "-" || s.message != "PortUnavailable: taken" {
		t.Errorf("%+v", s)
	}
}

func TestWants(t *testing.T) {
	var o statusObject
	o.Kind, o.Metadata.Name, o.Metadata.Namespace = "HTTPRoute", "web", "shop"
	var class statusObject
	class.Kind, class.Metadata.Name = "GatewayClass", "sluice"
	tests := []struct {
		arg   string
		o     statusObject
		wants bool
	}{
		{"httproute", o, true},
		{"HTTPRoutes", o, true},
		{"httproutes/web", o, true},
		{"httproute/shop/web", o, true},
		{"httproute/other", o, false},
		{"gateway", o, false},
		{"gateway", class, false},
		{"gatewayclass", class, true},
		{"gatewayclasses", class, true},
		{"gc/sluice", class, true},
		{"GTW", class, false},
		{"httproute web", o, true},
		{"httproute other shop/web", o, true},
		{"httproute other gc", o, false},
		{"httproute/other gc", class, true},
	}
	for _, tt := range tests {
		w, err := parseWanted(strings.Fields(tt.arg))
		if err != nil {
			t.Error(err)
		}
		if got := (statusClient{wanted: w}).wants(tt.o); got != tt.wants {
			t.Errorf("%q takes %s: %v", tt.arg, tt.o.Kind, got)
		}
	}
	for _, arg := range []string{"", "pods", "web"} {
		if w, err := parseWanted([]string{arg}); err == nil || !strings.Contains(err.Error(), "httproutes") {
			t.Errorf("%q is %+v (%v), want an error that lists the kinds", arg, w, err)
		}
	}
	for plural, short := range statusKinds {
		k := slices.IndexFunc(resource.Kinds, func(k resource.Kind) bool { return k.Plural == plural })
		if k < 0 || singular(plural) != strings.ToLower(resource.Kinds[k].Kind) {
			t.Errorf("%s (%s) are no objects", plural, short)
		}
	}
}
