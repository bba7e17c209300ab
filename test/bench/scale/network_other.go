//go:build !linux

package main

import (
	"errors"
	"syscall"
)

func ownNetwork() (*syscall.SysProcAttr, error) {
	return nil, errors.New("this benchmark needs a network namespace, which only Linux has")
}
