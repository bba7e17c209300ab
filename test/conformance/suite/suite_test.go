// Package suite is the Gateway API's conformance suite, with what it claims for Sluice. It is a module of its own,
// because the suite brings a hundred modules with it. Package conformance runs it.
package suite

import (
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// profiles are all there are for gateways.
var profiles = []suite.ConformanceProfileName{
	suite.GatewayHTTPConformanceProfileName,
	suite.GatewayTLSConformanceProfileName,
	suite.GatewayGRPCConformanceProfileName,
	suite.GatewayTCPConformanceProfileName,
	suite.GatewayUDPConformanceProfileName,
}

// TestConformance runs the whole suite. Which features there are to test the suite infers from the GatewayClass.
func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.ConformanceProfiles = profiles
	// Namespaces with Pods in them take their time to go on a small machine; it says nothing of Sluice.
	options.TimeoutConfig.DeleteTimeout = 3 * time.Minute
	conformance.RunConformanceWithOptions(t, options)
}

// TestClaimsAllFeatures checks that the GatewayClass claims every feature of gateways, so that the suite leaves no test
// of one out.
func TestClaimsAllFeatures(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.ConformanceProfiles = profiles
	s, err := suite.NewConformanceTestSuite(options)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for feature := range features.AllFeatures {
		mesh := features.MeshCoreFeatures.Has(feature) || features.MeshExtendedFeatures.Has(feature)
		if !mesh && !s.SupportedFeatures.Has(feature.Name) {
			missing = append(missing, string(feature.Name))
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("GatewayClass %s does not claim %q", options.GatewayClassName, missing)
	}
}
