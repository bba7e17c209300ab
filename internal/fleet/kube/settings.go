package kube

import (
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// Settings are what all fleets have in common. All but RateLimit are required.
type Settings struct {
	// EnvoyImage is the image that Envoys run, SluiceImage that of Sluice, for the shutdown manager beside each Envoy.
	EnvoyImage, SluiceImage string
	// Server is the DNS name of all replicas of the control plane together, and Port that of xDS.
	Server string
	Port   uint16
	// Identity is the URI SAN of the control plane's certificates.
	Identity string
	// Namespace is that of the control plane, where merged fleets are.
	Namespace string
	// RateLimit is where requests are counted for global rate limits, without the paths of SDS files; nil is nowhere.
	RateLimit *fleet.Remote
	// Service is the name of the control plane's Service in Namespace. Together they tell this installation of Sluice
	// from others in the cluster.
	Service string
}

// installation is the value of the label that tells this installation's objects from those of others. Neither of the
// two names can have a dot, so no two installations have one value.
func (s Settings) installation() string { return labelValue(s.Namespace + "." + s.Service) }

// serviceDomain is what names of Services in other namespaces end with, as that of the control plane's own does:
// svc.cluster.local and a dot, which says that the name is complete.
func (s Settings) serviceDomain() string {
	if _, domain, ok := strings.Cut(s.Server, ".svc."); ok {
		return "svc." + domain
	}
	return "svc"
}

// DefaultEnvoyImage is the image of the Envoy that Sluice is built and tested with.
const DefaultEnvoyImage = "docker.io/envoyproxy/envoy:distroless-v" + fleet.EnvoyVersion

// DefaultDrain is that of Envoy Gateway.
var DefaultDrain = fleet.Drain{Timeout: time.Minute, Min: 10 * time.Second}

// terminationSlack is what a pod may take to end beyond its drain.
const terminationSlack = 30 * time.Second
