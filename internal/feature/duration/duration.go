// Package duration reads the Gateway API's durations (GEP-2257).
package duration

import (
	"fmt"
	"regexp"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// syntax is the pattern of GEP-2257: up to four whole numbers of up to five digits, each with a unit.
var syntax = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// Parse returns the duration that d says. The error says what to write instead.
func Parse(d gwv1.Duration) (time.Duration, error) {
	if !syntax.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a duration: write whole numbers with the units h, m, s, ms, like 1m30s", string(d))
	}
	// What the pattern allows is a subset of what Go parses, and too small to overflow.
	return time.ParseDuration(string(d))
}

// MustParse is Parse for durations that have been checked. It panics on any other: that is a mistake in the program.
func MustParse(d gwv1.Duration) time.Duration {
	parsed, err := Parse(d)
	if err != nil {
		panic("duration: " + err.Error())
	}
	return parsed
}
