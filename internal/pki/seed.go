package pki

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Seed is a secret of the control plane, from which all replicas make the same keys without talking. Nobody who can
// write routes or policies can read it. That of the zero value is known to everybody.
type Seed struct{ secret []byte }

// seedSize is the size of a seed in bytes: that of the hash that makes keys of it.
const seedSize = sha256.Size

// NewSeed returns a seed that nobody can guess.
func NewSeed() Seed {
	secret := make([]byte, seedSize)
	_, _ = rand.Read(secret) // never fails
	return Seed{secret}
}

// ParseSeed reads what [Seed.Marshal] returned.
func ParseSeed(data []byte) (Seed, error) {
	secret, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(secret) != seedSize {
		return Seed{}, fmt.Errorf("a seed is %d hexadecimal digits", 2*seedSize)
	}
	return Seed{secret}, nil
}

// Marshal returns the seed as text.
func (s Seed) Marshal() []byte { return []byte(hex.EncodeToString(s.secret)) }

// Key returns the key for a purpose, as text (HKDF-SHA256, RFC 5869). From one key nobody can tell another, nor the
// seed.
func (s Seed) Key(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, s.secret, nil, purpose, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("pki: make a key: %v", err)) // only of more bytes than 255 hashes have
	}
	return []byte(hex.EncodeToString(key))
}

// seedFile is the file with the seed in the folder where an instance keeps its state.
const seedFile = "session-seed"

// FileSeed returns the seed that is kept in a folder, and makes it if there is none. Without a folder it is a new one
// each time. It is an error if everybody can read the file.
func FileSeed(dir string) (Seed, error) {
	if dir == "" {
		return NewSeed(), nil
	}
	path := filepath.Join(dir, seedFile)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	seed, err := readSeed(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return seed, err
	}
	// Written whole before it has its name: another instance with the same folder never reads half of it.
	seed = NewSeed()
	temp, err := os.CreateTemp(dir, seedFile+".*") // 0600
	if err != nil {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(append(seed.Marshal(), '\n'))
	if err := errors.Join(err, temp.Close()); err != nil {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	return readSeed(path)
}

func readSeed(path string) (Seed, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o007 != 0 {
		return Seed{}, fmt.Errorf("seed of sessions: everybody can read %s: remove it, and a new one is made", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Seed{}, fmt.Errorf("seed of sessions: %w", err)
	}
	seed, err := ParseSeed(data)
	if err != nil {
		return Seed{}, fmt.Errorf("%s: %w: remove it, and a new one is made", path, err)
	}
	return seed, nil
}
