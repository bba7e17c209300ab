// Package clientip is the field clientIPDetection of a ClientTrafficPolicy: whose address a request has, which is
// what rate limits, authorization and logs go by.
//
// xForwardedFor.numTrustedHops is xff_num_trusted_hops of the connection manager, with use_remote_address: the
// address is that entry of X-Forwarded-For from the right, or that of the connection if there are fewer. Envoy
// Gateway writes the same with the extension xff and one hop less; this way Envoy still knows that it is at the edge
// and removes or overwrites what only proxies may say (x-envoy-*, X-Request-Id), and with 0 hops nobody is believed.
// disableXForwardedForAppend is skip_xff_append.
//
// trustedCIDRs and customHeader are original_ip_detection_extensions (xff with xff_trusted_cidrs, custom_header),
// which Envoy has only without use_remote_address. Then it takes X-Forwarded-Proto and X-Request-Id of a request as
// they are: only proxies that set them should be able to connect. customHeader.failClosed answers 403 to requests
// without a valid address in the header; else these have the address of the connection. Private addresses are not
// internal (allow_extension_to_set_address_as_trusted is left out): nothing that a client says makes it trusted.
//
// directSourceIP is the default: the address of the connection, or of its PROXY protocol header.
//
// It guards: while it cannot be applied, requests are answered with 500, because rules that allow addresses would go
// by addresses that anybody can claim.
package clientip

import (
	"fmt"
	"math"
	"net/netip"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field clientIPDetection.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
	_ feature.Guard           = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".clientIPDetection" }

// Guards says that what goes by addresses must not go by wrong ones.
func (Feature) Guards() {}

// Check refuses more or less than one way to find the address, and what is no range of addresses.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ClientIPDetectionSettings)
	var refused policy.Refusals
	ways := 0
	for _, set := range []bool{spec.XForwardedFor != nil, spec.CustomHeader != nil, spec.DirectSourceIP != nil} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		refused.Add("", "It says %d ways to find the address: use one of xForwardedFor, customHeader and directSourceIP",
			ways)
		return refused
	}
	if xff := spec.XForwardedFor; xff != nil {
		if (xff.NumTrustedHops == nil) == (len(xff.TrustedCIDRs) == 0) {
			refused.Add(".xForwardedFor", "It says in two ways, or in none, which entries are trusted: use either "+
				"numTrustedHops or trustedCIDRs")
		}
		if n := xff.NumTrustedHops; n != nil && *n > math.MaxInt32 {
			refused.Add(".xForwardedFor.numTrustedHops", "The number %d is out of range: use the number of proxies", *n)
		}
		for i, cidr := range xff.TrustedCIDRs {
			if _, err := netip.ParsePrefix(string(cidr)); err != nil {
				refused.Add(fmt.Sprintf(".xForwardedFor.trustedCIDRs[%d]", i), "The range %q is not valid: write it like "+
					"192.0.2.0/24 or 2001:db8::/32", cidr)
			}
		}
	}
	if c := spec.CustomHeader; c != nil {
		if err := header.CheckName(c.Name); err != nil {
			refused.Add(".customHeader.name", "Invalid header: %v", err)
		}
	}
	return refused
}

// ApplyListener says where the address of a client is found.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	spec := a.Spec.(*egv1a1.ClientIPDetectionSettings)
	l.Manager.UseRemoteAddress = wrapperspb.Bool(true)
	switch {
	case spec.CustomHeader != nil:
		config := &customv3.CustomHeaderConfig{HeaderName: spec.CustomHeader.Name}
		if policy.Or(spec.CustomHeader.FailClosed, false) {
			config.RejectWithStatus = &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}
		}
		detect(l, "envoy.http.original_ip_detection.custom_header", config)
	case spec.XForwardedFor == nil:
	case spec.XForwardedFor.NumTrustedHops != nil:
		l.Manager.XffNumTrustedHops = *spec.XForwardedFor.NumTrustedHops
		l.Manager.SkipXffAppend = policy.Or(spec.XForwardedFor.DisableXForwardedForAppend, false)
	default:
		config := &xffv3.XffConfig{
			XffTrustedCidrs: &xffv3.XffTrustedCidrs{},
			SkipXffAppend:   wrapperspb.Bool(policy.Or(spec.XForwardedFor.DisableXForwardedForAppend, false)),
		}
		for _, cidr := range spec.XForwardedFor.TrustedCIDRs {
			prefix := netip.MustParsePrefix(string(cidr)) // checked
			config.XffTrustedCidrs.Cidrs = append(config.XffTrustedCidrs.Cidrs, &corev3.CidrRange{
				AddressPrefix: prefix.Masked().Addr().String(),
				PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())), //nolint:gosec // at most 128
			})
		}
		detect(l, "envoy.http.original_ip_detection.xff", config)
	}
}

// detect has an extension find the address, which Envoy allows only instead of taking that of the connection.
func detect(l *feature.Listener, name string, config proto.Message) {
	l.Manager.UseRemoteAddress = wrapperspb.Bool(false)
	l.Manager.OriginalIpDetectionExtensions = []*corev3.TypedExtensionConfig{
		{Name: name, TypedConfig: feature.Pack(config)},
	}
}
