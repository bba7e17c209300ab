package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/disk"
	"github.com/sluice-gateway/sluice/internal/jwks"
	"github.com/sluice-gateway/sluice/internal/model"
)

// shelf is a folder in which keys outlive the process, a file for each fetch that only the user can read; the zero
// value keeps nothing. An issuer may be away when the next process starts.
type shelf struct {
	dir string
}

// shelved is the content of a file. URL is for whoever looks into it.
type shelved struct {
	URL string `json:"url"`
	// At is when the keys were fetched or confirmed last, Until how long they are kept.
	At    time.Time       `json:"at"`
	Until time.Time       `json:"until"`
	Keys  json.RawMessage `json:"keys"`
}

const shelfSuffix = ".json"

// path is the file of a fetch, which is named after all that says what it is; empty if it is not kept.
func (s shelf) path(fetch model.Fetch) string {
	spec := fetch.Spec()
	if s.dir == "" || spec.Kind != model.FetchJWKS {
		return ""
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return filepath.Join(s.dir, hex.EncodeToString(sum[:])+shelfSuffix)
}

// put keeps what was fetched at a time.
func (s shelf) put(fetch model.Fetch, data []byte, at time.Time) error {
	path, spec := s.path(fetch), fetch.Spec()
	if path == "" {
		return nil
	}
	text, err := json.Marshal(shelved{URL: fetch.String(), At: at, Until: at.Add(spec.Every + spec.Keep), Keys: data})
	if err != nil {
		return fmt.Errorf("write the keys: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("write the keys: %w", err)
	}
	if err := disk.Replace(path, append(text, '\n')); err != nil {
		return fmt.Errorf("write the keys: %w", err)
	}
	return nil
}

// get returns what is kept of a fetch, and when that was fetched. What is too old, of the future or damaged, and what
// somebody else could have written, is not.
func (s shelf) get(fetch model.Fetch, now time.Time) (data []byte, at time.Time, ok bool) {
	path, spec := s.path(fetch), fetch.Spec()
	if path == "" {
		return nil, at, false
	}
	is, ok := readShelved(path)
	if !ok || is.At.After(now) || !now.Before(is.At.Add(spec.Every+spec.Keep)) {
		return nil, at, false
	}
	if data, err := jwks.Public(is.Keys); err != nil || !bytes.Equal(data, is.Keys) {
		return nil, at, false
	}
	return is.Keys, is.At, true
}

func readShelved(path string) (is shelved, ok bool) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return is, false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return is, false
	}
	return is, json.Unmarshal(text, &is) == nil
}

// remove forgets a fetch.
func (s shelf) remove(fetch model.Fetch) {
	if path := s.path(fetch); path != "" {
		_ = os.Remove(path) // if it stays, it is of no use in the end
	}
}

// sweep removes what is of no use any more: what is too old, and what a process has left half written.
func (s shelf) sweep(now time.Time) {
	if s.dir == "" {
		return
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return // there is nothing yet
	}
	for _, file := range files {
		path := filepath.Join(s.dir, file.Name())
		if is, ok := readShelved(path); !ok || !strings.HasSuffix(path, shelfSuffix) || now.After(is.Until) {
			_ = os.Remove(path) // if it stays, it is of no use
		}
	}
}
