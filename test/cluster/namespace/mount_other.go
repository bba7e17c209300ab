//go:build !linux

package namespace

// KeepMounts returns ErrUnsupported here.
func KeepMounts() error { return ErrUnsupported }

// Bind returns ErrUnsupported here.
func Bind(string, string) error { return ErrUnsupported }
