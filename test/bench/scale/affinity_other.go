//go:build !linux

package main

import "errors"

func reserve(int) (release func() error, err error) { return nil, errors.New("only on Linux") }
