//go:build !linux

package local

import "errors"

// steer has the kernel give new connections to one of two processes. Only Linux can.
func steer(next, old int) error { return errors.ErrUnsupported }

// release takes steer back.
func release(pid int) error { return nil }
