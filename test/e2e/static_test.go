package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// static is a configuration as messages, to be turned into one that Envoy can check without a control plane.
type static struct {
	clusters  []*clusterv3.Cluster
	endpoints []*endpointv3.ClusterLoadAssignment
	secrets   []*tlsv3.Secret
	listeners []*listenerv3.Listener
	routes    []*routev3.RouteConfiguration
}

func (s *static) add(m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		s.clusters = append(s.clusters, m)
	case *endpointv3.ClusterLoadAssignment:
		s.endpoints = append(s.endpoints, m)
	case *tlsv3.Secret:
		s.secrets = append(s.secrets, m)
	case *listenerv3.Listener:
		s.listeners = append(s.listeners, m)
	case *routev3.RouteConfiguration:
		s.routes = append(s.routes, m)
	}
}

// checkEnvoyTakes asks Envoy whether it takes a configuration, with the bootstrap that it would run with.
func checkEnvoyTakes(t *testing.T, binary string, s *static) {
	t.Helper()
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Node: "fuzz", Cluster: "fuzz", XDSSocket: "/nowhere/xds", AdminSocket: "/nowhere/admin",
	})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody serves xDS here: everything is put where Envoy would otherwise ask for it.
	bootstrap.DynamicResources = nil
	bootstrap.StaticResources = &bootstrapv3.Bootstrap_StaticResources{
		Clusters: append(bootstrap.StaticResources.Clusters, s.inlineClusters(t)...), Secrets: s.secrets,
		Listeners: s.inlineListeners(t),
	}
	content, err := fleet.JSON(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "--config-path", path, "--log-level",
		"error").CombinedOutput()
	var refused *exec.ExitError
	if errors.As(err, &refused) {
		t.Errorf("Envoy refuses the configuration: %s\n%s", out, content)
	} else if err != nil {
		t.Fatal(err)
	}
}

// inlineClusters returns the clusters with their endpoints in them.
func (s *static) inlineClusters(t *testing.T) []*clusterv3.Cluster {
	t.Helper()
	assignments := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, a := range s.endpoints {
		assignments[a.GetClusterName()] = a
	}
	for _, c := range s.clusters {
		change(t, c.GetTransportSocket().GetTypedConfig(), func(m *tlsv3.UpstreamTlsContext) {
			bareSecrets(m.GetCommonTlsContext())
		})
		if c.GetType() != clusterv3.Cluster_EDS {
			continue
		}
		name := c.GetEdsClusterConfig().GetServiceName()
		if name == "" {
			name = c.GetName()
		}
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.EdsClusterConfig = nil
		c.LoadAssignment = assignments[name]
		if c.LoadAssignment == nil {
			c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: c.GetName()}
		}
	}
	return s.clusters
}

// inlineListeners returns the listeners with their routes in them, and with their secrets by name only.
func (s *static) inlineListeners(t *testing.T) []*listenerv3.Listener {
	t.Helper()
	tables := map[string]*routev3.RouteConfiguration{}
	for _, r := range s.routes {
		// The cluster that stands for an invalid backend does not exist, on purpose.
		r.ValidateClusters = wrapperspb.Bool(false)
		tables[r.GetName()] = r
	}
	for _, l := range s.listeners {
		chains := l.GetFilterChains()
		if l.GetDefaultFilterChain() != nil {
			chains = append(chains, l.GetDefaultFilterChain())
		}
		for _, chain := range chains {
			for _, filter := range chain.GetFilters() {
				change(t, filter.GetTypedConfig(), func(m *hcmv3.HttpConnectionManager) {
					table := tables[m.GetRds().GetRouteConfigName()]
					if table == nil {
						t.Errorf("the listener %s needs the routes %q, which do not exist", l.GetName(), m.GetRds())
						return
					}
					m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: table}
				})
			}
			change(t, chain.GetTransportSocket().GetTypedConfig(), func(m *tlsv3.DownstreamTlsContext) {
				bareSecrets(m.GetCommonTlsContext())
			})
		}
	}
	return s.listeners
}

// bareSecrets leaves only the names of secrets, by which Envoy finds those in its bootstrap.
func bareSecrets(tls *tlsv3.CommonTlsContext) {
	secrets := append(tls.GetTlsCertificateSdsSecretConfigs(), tls.GetValidationContextSdsSecretConfig(),
		tls.GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
	for _, secret := range secrets {
		if secret != nil {
			secret.SdsConfig = nil
		}
	}
}

// change unpacks a message, changes it and packs it again, if it is of the type M.
func change[M proto.Message](t *testing.T, packed *anypb.Any, edit func(M)) {
	t.Helper()
	if packed == nil {
		return
	}
	m, err := packed.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := m.(M)
	if !ok {
		return
	}
	edit(typed)
	if err := packed.MarshalFrom(typed); err != nil {
		t.Fatal(err)
	}
}
