package ratelimit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Unit is the length of a window, by name. The zero value is none.
type Unit uint8

// The units of BackendTrafficPolicy's RateLimitUnit. A month has 30 days and a year 365, as with Envoy Gateway.
const (
	Second Unit = iota + 1
	Minute
	Hour
	Day
	Week
	Month
	Year
)

const day = 24 * time.Hour

var units = [...]struct {
	name   string
	length time.Duration
}{
	Second: {"Second", time.Second}, Minute: {"Minute", time.Minute}, Hour: {"Hour", time.Hour}, Day: {"Day", day},
	Week: {"Week", 7 * day}, Month: {"Month", 30 * day}, Year: {"Year", 365 * day},
}

// String returns the unit's name as policies have it, "" for none.
func (u Unit) String() string {
	if int(u) >= len(units) {
		return ""
	}
	return units[u].name
}

// Length returns how long the unit is, 0 for none.
func (u Unit) Length() time.Duration {
	if int(u) >= len(units) {
		return 0
	}
	return units[u].length
}

// ParseUnit returns the unit of a name, in upper or lower case.
func ParseUnit(name string) (Unit, error) {
	for u := Second; u <= Year; u++ {
		if strings.EqualFold(units[u].name, name) {
			return u, nil
		}
	}
	return 0, fmt.Errorf("%q is no unit: use Second, Minute, Hour, Day, Week, Month or Year", name)
}

// Limit is how much may be counted in any window of the length of Unit.
type Limit struct {
	Requests uint32
	Unit     Unit
}

// String returns the limit as [ParseLimit] reads it: "100/Minute".
func (l Limit) String() string {
	return strconv.FormatUint(uint64(l.Requests), 10) + "/" + l.Unit.String()
}

// ParseLimit reads what [Limit.String] writes.
func ParseLimit(text string) (Limit, error) {
	number, name, _ := strings.Cut(text, "/")
	requests, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return Limit{}, fmt.Errorf("limit %q: it has the form 100/Minute, with a number below 2^32", text)
	}
	unit, err := ParseUnit(name)
	if err != nil {
		return Limit{}, fmt.Errorf("limit %q: %w", text, err)
	}
	return Limit{Requests: uint32(requests), Unit: unit}, nil
}
