// Package disk writes the files that a process leaves for itself and for those after it.
package disk

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes a file that only the user can read (0600), or puts it in the place of the one that is there. The parts
// are written one after another. A process that is killed, or a full disk, leaves what was there. It does not wait for
// the disk: after a crash of the machine the file can be there without its content. The errors are those of the system.
func Replace(path string, parts ...[]byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // 0600
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err == nil {
			_, err = temp.Write(part)
		}
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
