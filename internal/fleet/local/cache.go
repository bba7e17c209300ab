package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cacheVariable is the environment variable that says where Sluice keeps what it has downloaded.
const cacheVariable = "SLUICE_CACHE"

const (
	binaryName = "envoy"
	// sumName is the file beside the binary with the checksum that it had when it was installed.
	sumName     = "envoy.sha256"
	lockPoll    = 100 * time.Millisecond
	lockTimeout = 10 * time.Minute
)

// cache is the directory in which one version of Envoy is installed.
type cache struct{ dir string }

// openCache returns the cache below root, or if root is empty below $SLUICE_CACHE, or else the user's cache directory.
// It makes nothing.
func openCache(root, version string) (cache, error) {
	if root == "" {
		root = os.Getenv(cacheVariable)
	}
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return cache{}, fmt.Errorf("no place for a cache: %w; set %s", err, cacheVariable)
		}
		root = filepath.Join(user, "sluice")
	}
	return cache{dir: filepath.Join(root, "envoy", version)}, nil
}

func (c cache) binary() string { return filepath.Join(c.dir, binaryName) }

// verify returns nil if there is a binary and it is, byte for byte, what was installed; the error wraps
// fs.ErrNotExist if nothing was.
func (c cache) verify() error {
	want, err := os.ReadFile(filepath.Join(c.dir, sumName))
	if err != nil {
		return err
	}
	have, err := fileSum(c.binary())
	if err != nil {
		return err
	}
	if expected := strings.TrimSpace(string(want)); have != expected {
		return fmt.Errorf("%s is damaged: its SHA-256 is %s and should be %s", c.binary(), have, expected)
	}
	return nil
}

// store makes a file, whose checksum the caller has verified, the installed binary. Whoever looks meanwhile sees the
// old one or the new one, never a part. The file must be in the cache's directory.
func (c cache) store(file, sum string) error {
	if err := os.Chmod(file, 0o755); err != nil { //nolint:gosec // a program, without secrets
		return err
	}
	// The sum goes first: with a new sum and an old binary, or with none, the cache counts as damaged and is filled anew.
	temp := filepath.Join(c.dir, sumName+".new")
	if err := os.WriteFile(temp, []byte(sum+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(c.dir, sumName)); err != nil {
		return err
	}
	return os.Rename(file, c.binary())
}

// acquire makes the cache's directory and locks it against other installations, waiting if there is one. The returned
// function ends the lock.
func (c cache) acquire(ctx context.Context, log func(string)) (func(), error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // a cache, without secrets
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for waited := false; ; waited = true {
		file, err := lock(filepath.Join(c.dir, lockFile))
		if err == nil {
			return func() { _ = file.Close() }, nil // closing what was only locked loses nothing
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		if !waited {
			log("another installation of Envoy is running; waiting for it")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// fileSum returns the SHA-256 of a file in hexadecimal.
func fileSum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close() //nolint:errcheck // only read
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// writeFile copies from r, of which at most limit bytes are expected, to a new file and returns its SHA-256 in
// hexadecimal.
func writeFile(path string, r io.Reader, limit int64) (sum string, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, hash), io.LimitReader(r, limit+1))
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("is larger than %d bytes", limit)
	}
	return hex.EncodeToString(hash.Sum(nil)), file.Sync()
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
