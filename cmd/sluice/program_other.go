//go:build !linux

package main

// unmapProgram does nothing: only Linux has what it needs.
func unmapProgram() {}
