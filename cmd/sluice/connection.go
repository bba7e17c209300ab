package main

import (
	"cmp"
	"os"
)

// noticeSilence has an API server that vanished without a word noticed within 8 seconds: client-go asks a connection
// that says nothing for 5 seconds whether it lives, and gives it 3 to answer. Its own 45 seconds are longer than a
// leader has. Who runs Sluice may set other values in the environment, where client-go reads them.
func noticeSilence() {
	for name, seconds := range map[string]string{
		"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "5", "HTTP2_PING_TIMEOUT_SECONDS": "3",
	} {
		_ = os.Setenv(name, cmp.Or(os.Getenv(name), seconds)) // the names are valid
	}
}
