package namespace

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// KeepMounts keeps what the calling process mounts from then on from being seen in the mounts that its own were copied
// from.
func KeepMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts to this namespace: %w", err)
	}
	return nil
}

// Bind makes a folder be seen at another place. Both are made if they are missing.
func Bind(from, to string) error {
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as the programs that use it make it
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", from, to, err)
	}
	return nil
}
