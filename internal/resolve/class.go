package resolve

import (
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// coreFeatures are the features that this package alone, or this package and the mapping to Envoy, answer for.
var coreFeatures = []gwv1.FeatureName{
	"BackendTLSPolicy", "BackendTLSPolicySANValidation", "ClusterTrustBundle", "Gateway", "GatewayAddressEmpty",
	"GatewayBackendClientCertificate", "GatewayFrontendClientCertificateValidation",
	"GatewayFrontendClientCertificateValidationInsecureFallback", "GatewayHTTPListenerIsolation", "GatewayPort8080",
	"GatewayRouteHostnameIntersectionPrecedence", "GRPCRoute", "GRPCRouteNamedRouteRule", "HTTPRoute",
	"HTTPRouteBackendProtocolH2C", "HTTPRouteBackendProtocolWebSocket", "HTTPRouteDestinationPortMatching",
	"HTTPRouteMethodMatching", "HTTPRouteNamedRouteRule", "HTTPRouteParentRefPort", "HTTPRouteQueryParamMatching",
	"ListenerSet", "ReferenceGrant", "TCPRoute", "TLSRoute", "TLSRouteModeMixed", "TLSRouteModeTerminate", "UDPRoute",
}

// fleetFeatures are those of a cluster, where each Gateway has Envoys of its own.
var fleetFeatures = []gwv1.FeatureName{
	"GatewayAddressRoutability", "GatewayAddressRoutabilityCluster", "GatewayInfrastructure", "GatewayStaticAddresses",
}

// class is what Gateways need to know of a GatewayClass of ours.
type class struct {
	Controller string
	// Problem is why the class is not accepted; empty if it is.
	Problem string
	// Params is the EnvoyProxy that the class refers to, and Spec what it says; empty and nil if there is none.
	Params model.Name
	Spec   *egv1a1.EnvoyProxySpec
	// Merged says that all Gateways of the class share one fleet.
	Merged bool
	UID    types.UID
}

// ownGateway is a Gateway of one of our classes.
type ownGateway struct {
	Gateway *gwv1.Gateway
	Class   class
}

func (t *Tables) addClasses(e *incr.Engine) {
	t.classes = incr.NewTable(e, "classes", t.class, t.in.classes)
	t.GatewayClassStatus = incr.NewTable(e, "gatewayclass status", t.classStatus, t.in.classes)
	t.ours = incr.NewTable(e, "own gateways", func(r *incr.Reader, key model.Name) (*ownGateway, bool) {
		gw, ok := incr.Get(r, t.in.gateways, key)
		if !ok {
			return nil, false
		}
		c, ok := incr.Get(r, t.classes, model.Name{Name: string(gw.Spec.GatewayClassName)})
		if !ok {
			return nil, false
		}
		return &ownGateway{Gateway: gw, Class: c}, true
	}, t.in.gateways)
	t.classesUsing = incr.NewIndex(e, "classes by parameters", t.classes, func(_ model.Name, c class) []model.Name {
		if c.Params == (model.Name{}) {
			return nil
		}
		return []model.Name{c.Params}
	})
	t.gatewaysUsing = incr.NewIndex(e, "gateways by parameters", t.ours, func(_ model.Name, o *ownGateway) []model.Name {
		name, problem, has := gatewayParameters(o.Gateway)
		if !has || problem != "" {
			return nil
		}
		return []model.Name{name}
	})
	t.controllers = incr.NewTable(e, "controllers", func(r *incr.Reader, key model.Name) (string, bool) {
		own, ok := incr.Get(r, t.ours, key)
		if !ok {
			return "", false
		}
		return own.Class.Controller, true
	}, t.ours)
	t.addDefaults(e)
}

func (t *Tables) class(r *incr.Reader, key model.Name) (class, bool) {
	gc, ok := incr.Get(r, t.in.classes, key)
	if !ok || !slices.Contains(t.opts.Controllers, string(gc.Spec.ControllerName)) {
		return class{}, false
	}
	c := class{Controller: string(gc.Spec.ControllerName), UID: gc.UID}
	if ref := gc.Spec.ParametersRef; ref != nil {
		name := model.Name{Namespace: string(deref(ref.Namespace, "")), Name: ref.Name}
		if c.Params, c.Problem = envoyProxyRef(ref.Group, ref.Kind, name); c.Problem == "" {
			c.Spec, c.Problem = t.envoyProxy(r, c.Params)
		}
		c.Merged = c.Spec != nil && deref(c.Spec.MergeGateways, false)
	}
	return c, true
}

func (t *Tables) classStatus(r *incr.Reader, key model.Name) (gwv1.GatewayClassStatus, bool) {
	c, ok := incr.Get(r, t.classes, key)
	if !ok {
		return gwv1.GatewayClassStatus{}, false
	}
	gc, _ := incr.Get(r, t.in.classes, key)
	var issues status.Report
	if c.Problem != "" {
		issues = status.Report{{Reason: status.ReasonInvalidParameters, Message: c.Problem, Path: "spec.parametersRef"}}
	}
	var out gwv1.GatewayClassStatus
	out.Conditions = append(out.Conditions, status.Judge(status.Accepted, issues,
		string(gwv1.GatewayClassReasonAccepted), "The class is accepted", gc.Generation))
	features := slices.Concat(coreFeatures, t.opts.Features)
	if t.opts.Fleets != nil {
		features = append(features, fleetFeatures...)
	}
	slices.SortFunc(features, func(a, b gwv1.FeatureName) int { return strings.Compare(string(a), string(b)) })
	for _, f := range slices.Compact(features) {
		out.SupportedFeatures = append(out.SupportedFeatures, gwv1.SupportedFeature{Name: f})
	}
	return out, true
}

func (t *Tables) addGrants(e *incr.Engine) {
	t.grants = incr.NewIndex(e, "grants", t.in.grants,
		func(_ model.Name, g *gwv1.ReferenceGrant) []resource.Grant { return resource.Grants(g) })
}

// granted says whether an object may refer to another: one in its own namespace, or one that a ReferenceGrant in the
// other's namespace opens to it.
func (t *Tables) granted(r *incr.Reader, from, to model.Ref) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	for _, grant := range resource.Permitting(from, to) {
		if t.grants.Len(r, grant) > 0 {
			return true
		}
	}
	return false
}

// deref returns what p points at, or what a nil pointer stands for.
func deref[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}
