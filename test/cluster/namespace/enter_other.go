//go:build !linux

package namespace

import (
	"context"
	"net"
	"os/exec"
)

// Isolate does nothing here.
func Isolate(*exec.Cmd) {}

// Detach does nothing here.
func Detach(*exec.Cmd) {}

// Enter returns ErrUnsupported here.
func Enter(int) error { return ErrUnsupported }

// Do returns ErrUnsupported here.
func Do(int, func() error) error { return ErrUnsupported }

// Dial returns ErrUnsupported here.
func Dial(context.Context, int, string, string) (net.Conn, error) { return nil, ErrUnsupported }

// Supported returns ErrUnsupported here.
func Supported() error { return ErrUnsupported }
