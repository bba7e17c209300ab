package fleet_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// TestAdminSocketOfAnotherVersion moves the admin interface of a bootstrap that this version need not understand.
func TestAdminSocketOfAnotherVersion(t *testing.T) {
	const bootstrap = `{"admin": {"address": {}}, "field_of_the_future": [1]}`
	out, err := fleet.WithAdminSocket([]byte(bootstrap), "/run/admin.1.sock")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Admin struct {
			Address struct {
				Pipe struct {
					Path string
					Mode int
				}
			}
		}
		Future []int `json:"field_of_the_future"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if pipe := got.Admin.Address.Pipe; pipe.Path != "/run/admin.1.sock" || pipe.Mode != 0o600 || len(got.Future) != 1 {
		t.Errorf("the bootstrap is %s", out)
	}
	_, err = fleet.WithAdminSocket([]byte("admin: yaml"), "/a")
	if err == nil || !strings.Contains(err.Error(), "bootstrap") {
		t.Errorf("what is no JSON: %v", err)
	}
}

// TestMetricsWithoutHealthChecks is an Envoy of one machine, which nobody probes.
func TestMetricsWithoutHealthChecks(t *testing.T) {
	c := sockets()
	c.MetricsAddress = netip.MustParseAddrPort("127.0.0.1:19101")
	b, err := fleet.Bootstrap(c)
	if err != nil {
		t.Fatal(err)
	}
	listeners := b.StaticResources.Listeners
	if len(listeners) != 1 || listeners[0].Name != fleet.InternalStats+"metrics" ||
		listeners[0].Address.GetSocketAddress().Address != "127.0.0.1" ||
		listeners[0].Address.GetSocketAddress().GetPortValue() != 19101 {
		t.Errorf("the listeners are %v", listeners)
	}
}
