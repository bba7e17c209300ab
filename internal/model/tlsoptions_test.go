package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

func TestTLSOptions(t *testing.T) {
	full := model.TLSSettings{
		MinVersion: "1.2", MaxVersion: "1.3", Ciphers: []string{"ECDHE-RSA-AES128-GCM-SHA256", "[A|B]"},
		Curves: []string{"P-256"}, Signatures: []string{"rsa_pss_rsae_sha256"}, ALPN: []string{"h2", "http/1.1"},
	}
	if diff := cmp.Diff(full, full.Options().Settings()); diff != "" {
		t.Errorf("what was put in does not come out: %s", diff)
	}
	if got := (model.TLSSettings{}).Options(); got != (model.TLSOptions{}) {
		t.Errorf("no settings are %q, want the zero value", got)
	}
	over := model.TLSSettings{MinVersion: "1.3", ALPN: []string{"h2"}}.Options()
	got := over.Or(full.Options()).Settings()
	want := full
	want.MinVersion, want.ALPN = "1.3", []string{"h2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the more specific settings do not win: %s", diff)
	}
	for _, o := range []model.TLSOptions{over, {}} {
		if got := o.Or(model.TLSOptions{}); got != o {
			t.Errorf("%v with nothing below is %v", o, got)
		}
		if got := (model.TLSOptions{}).Or(o); got != o {
			t.Errorf("nothing with %v below is %v", o, got)
		}
	}
}
