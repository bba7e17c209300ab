// Package policy is what the features of fields of Envoy Gateway's policies have in common: how they refuse what cannot
// be done, and how those that shape clusters change the HTTP options of a cluster.
package policy

import (
	"fmt"
	"math"
	"strings"
	"time"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Inline reports whether a is written beside a backend reference of a policy (backendSettings): it is then for the
// requests that the policy itself makes, which pass no route.
func Inline(a model.Attached) bool { return strings.Contains(a.Path, ".backendSettings.") }

// Refusals are what a feature refuses of a field.
type Refusals []feature.Problem

// Add refuses the field at a path, relative to that of the Attached. The message is one sentence that says what to do.
func (r *Refusals) Add(path, format string, args ...any) {
	*r = append(*r, feature.Problem{
		Reason: string(gwv1.PolicyReasonInvalid), Message: fmt.Sprintf(format, args...), Path: path,
	})
}

// Duration refuses what is not a duration of at least the given length, and returns it; 0 for nil and for what is
// refused.
func (r *Refusals) Duration(path string, d *gwv1.Duration, least time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	parsed, err := duration.Parse(*d)
	switch {
	case err != nil:
		r.Add(path, "Invalid duration: %v", err)
		return 0
	case parsed < least:
		r.Add(path, "The duration %q is too short: use at least %v, or leave the field out", *d, least)
		return 0
	}
	return parsed
}

// Bytes refuses what is not a whole number of bytes from least to most.
func (r *Refusals) Bytes(path string, size *resource.Quantity, least, most int64) {
	if size == nil {
		return
	}
	if n, ok := size.AsInt64(); !ok || n < least || n > most {
		r.Add(path, "The size %s is out of range: use whole bytes, %d to %d", size, least, most)
	}
}

// Bytes returns a size that has been checked for Envoy, nil for nil.
func Bytes(size *resource.Quantity) *wrapperspb.UInt32Value {
	if size == nil {
		return nil
	}
	n := size.Value()
	return Uint32(&n)
}

// Duration returns a duration that has been checked for Envoy, nil for nil.
func Duration(d *gwv1.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(duration.MustParse(*d))
}

// Seconds returns a duration of whole seconds that has been checked for Envoy, nil for nil.
func Seconds(d *gwv1.Duration) *wrapperspb.UInt32Value {
	if d == nil {
		return nil
	}
	return wrapperspb.UInt32(uint32(duration.MustParse(*d) / time.Second)) //nolint:gosec // at most 99999 hours
}

// Uint32 returns a number for Envoy, nil for nil. What does not fit has to be refused before.
func Uint32[T ~int32 | ~uint32 | ~int64](n *T) *wrapperspb.UInt32Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt32(uint32(*n)) //nolint:gosec // checked
}

// Or returns the value, or another for nil.
func Or[T any](value *T, unset T) T {
	if value == nil {
		return unset
	}
	return *value
}

// Share returns a share of all requests, 0 to 1, rounded to millionths.
func Share(of float64) *typev3.FractionalPercent {
	const millionths = 1_000_000
	return &typev3.FractionalPercent{
		Numerator: uint32(math.Round(of * millionths)), Denominator: typev3.FractionalPercent_MILLION,
	}
}
