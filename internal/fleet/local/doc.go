// Package local runs Envoy as a child process: it finds or installs the binary, starts it, starts it again when it
// dies, and drains it before it stops it.
//
// The child never outlives Sluice, whatever becomes of either, and leaves no files behind: all of them are in one
// [RuntimeDir], which the next start removes if this one could not.
package local
