// Package policy is what the features of fields of Envoy Gateway's policies have in common: how they refuse what cannot
// be done, and how those that shape clusters change the HTTP options of a cluster.
package policy

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/model"
)

// httpOptions is the key of HttpProtocolOptions in Cluster.typed_extension_protocol_options.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

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

// Duration returns a duration that has been checked for Envoy, nil for nil.
func Duration(d *gwv1.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(duration.MustParse(*d))
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

// ChangeHTTP changes the HTTP options of a cluster that are the same for all versions of HTTP, and keeps all others.
// Envoy wants to be told the version with them: it is HTTP/1.1 where nothing else is said, as without any options.
func ChangeHTTP(c *feature.Cluster, change func(*corev3.HttpProtocolOptions)) {
	options := &httpv3.HttpProtocolOptions{}
	if packed, ok := c.Proto.GetTypedExtensionProtocolOptions()[httpOptions]; ok {
		if err := packed.UnmarshalTo(options); err != nil {
			panic("policy: the options of a cluster are not HttpProtocolOptions: " + err.Error()) // a mistake in the program
		}
	}
	if options.GetUpstreamProtocolOptions() == nil {
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		}
	}
	if options.CommonHttpProtocolOptions == nil {
		options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
	}
	change(options.CommonHttpProtocolOptions)
	if c.Proto.TypedExtensionProtocolOptions == nil {
		c.Proto.TypedExtensionProtocolOptions = map[string]*anypb.Any{}
	}
	c.Proto.TypedExtensionProtocolOptions[httpOptions] = feature.Pack(options)
}
