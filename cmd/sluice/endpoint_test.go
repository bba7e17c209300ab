package main

import (
	"testing"

	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// An Envoy that asked more often than the server takes would be sent away again and again.
func TestEnvoysMayPing(t *testing.T) {
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Cluster: "ns/gw", AdminSocket: "/admin.sock", Remote: &fleet.Remote{
			Host: "sluice", Port: 18000, Identity: "spiffe://sluice", CertificateSecret: "/c.json", AuthoritySecret: "/a.json",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range bootstrap.StaticResources.Clusters {
		if c.Name != fleet.XDSCluster {
			continue
		}
		var options httpv3.HttpProtocolOptions
		err := c.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].UnmarshalTo(&options)
		if err != nil {
			t.Fatal(err)
		}
		keepalive := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions().GetConnectionKeepalive()
		if every := keepalive.GetInterval().AsDuration(); every < 2*xds.MinPing {
			t.Errorf("Envoys ask every %s, too often for a server that takes one PING in %s", every, xds.MinPing)
		}
		return
	}
	t.Fatal("there is no cluster of the control plane")
}
