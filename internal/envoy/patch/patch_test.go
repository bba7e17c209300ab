package patch

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// read returns a message that is written as JSON, in the type of another one.
func read[M proto.Message](t *testing.T, text string, into M) M {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return into
}

const manager = `{"name": "m", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  "stat_prefix": "p", "rds": {"route_config_name": "%"}}}`

func managing(table string) string { return strings.ReplaceAll(manager, "%", table) }

// Every view shows a resource as Envoy Gateway has it, and gives back what it was.
func TestViews(t *testing.T) {
	_ = &hcmv3.HttpConnectionManager{} // The type of what is packed has to be known.
	first, second := &routev3.Route{Name: "httproute/ns/r/0"}, &routev3.Route{Name: "httproute/ns/r/1"}
	for name, c := range map[string]struct {
		view       View
		like       func() proto.Message
		own, shown string
	}{
		"plain listener": {
			&Listener{
				Name: Rename{"tcp/80", "ns/gw/http"}, Chains: []Rename{{"http/80", "ns/gw/http"}}, Plain: true,
			},
			func() proto.Message { return &listenerv3.Listener{} },
			`{"name": "tcp/80", "filter_chains": [{"name": "http/80", "filters": [` + managing("http/80") + `]}]}`,
			`{"name": "ns/gw/http", "default_filter_chain": {"name": "ns/gw/http", "filters": [` +
				managing("ns/gw/http") + `]}}`,
		},
		"listener of TLS": {
			&Listener{Name: Rename{"tcp/443", "tcp-443"}, Chains: []Rename{
				{"https/443/ns/gw/a", "ns/gw/a"}, {"https/443/ns/gw/b", "ns/gw/b"},
			}},
			func() proto.Message { return &listenerv3.Listener{} },
			`{"name": "tcp/443", "filter_chains": [{"name": "https/443/ns/gw/a"},
				{"name": "https/443/ns/gw/b", "filters": [` + managing("https/443/ns/gw/b") + `]}]}`,
			`{"name": "tcp-443", "filter_chains": [{"name": "ns/gw/a"},
				{"name": "ns/gw/b", "filters": [` + managing("ns/gw/b") + `]}]}`,
		},
		"cluster": {
			Named{"service/ns/a/80", "httproute/ns/r/rule/0"}, func() proto.Message { return &clusterv3.Cluster{} },
			`{"name": "service/ns/a/80", "eds_cluster_config": {}, "load_assignment": {"cluster_name": "service/ns/a/80"}}`,
			`{"name": "httproute/ns/r/rule/0", "eds_cluster_config": {"service_name": "httproute/ns/r/rule/0"},
				"load_assignment": {"cluster_name": "httproute/ns/r/rule/0"}}`,
		},
		"endpoints": {
			Named{"service/ns/a/80", "httproute/ns/r/rule/0"},
			func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
			`{"cluster_name": "service/ns/a/80"}`, `{"cluster_name": "httproute/ns/r/rule/0"}`,
		},
		"routes": {
			&Routes{Name: Rename{"http/80", "ns/gw/http"}, Hosts: []Host{{
				Rename: Rename{"a.example", "ns/gw/http/a_example"},
				Routes: map[string]Route{
					Identity(first): {Rename{"httproute/ns/r/0", "r/0"}, []Rename{{"service/ns/a/80", "r/0"}}},
					Identity(second): {Rename{"httproute/ns/r/1", "r/1"}, []Rename{
						{"service/ns/a/80", "r/1/a"}, {"service/ns/b/80", "r/1/b"},
					}},
				},
			}}},
			func() proto.Message { return &routev3.RouteConfiguration{} },
			`{"name": "http/80", "virtual_hosts": [{"name": "a.example", "routes": [
				{"name": "httproute/ns/r/0", "route": {"cluster": "service/ns/a/80"}},
				{"name": "httproute/ns/r/1", "route": {"weighted_clusters": {"clusters": [
					{"name": "service/ns/a/80"}, {"name": "service/ns/b/80"}]}}},
				{"name": "rest", "direct_response": {}}]}]}`,
			`{"name": "ns/gw/http", "virtual_hosts": [{"name": "ns/gw/http/a_example", "routes": [
				{"name": "r/0", "route": {"cluster": "r/0", "upgrade_configs": [{"upgrade_type": "websocket"}]}},
				{"name": "r/1", "route": {"upgrade_configs": [{"upgrade_type": "websocket"}],
					"weighted_clusters": {"clusters": [{"name": "r/1/a"}, {"name": "r/1/b"}]}}},
				{"name": "rest", "direct_response": {}}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := read(t, c.own, c.like())
			c.view.Show(m)
			if diff := cmp.Diff(read(t, c.shown, c.like()), m, protocmp.Transform()); diff != "" {
				t.Errorf("shown: %s", diff)
			}
			if err := c.view.Restore(m); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(read(t, c.own, c.like()), m, protocmp.Transform()); diff != "" {
				t.Errorf("restored: %s", diff)
			}
		})
	}
}

// An order of filter chains that is not that of Envoy Gateway is shown in that, and nothing can be renamed.
func TestListenerInTheOrderOfEnvoyGateway(t *testing.T) {
	view := &Listener{Name: Rename{"tcp/443", "tcp-443"}, Chains: []Rename{{"a", "A"}, {"b", "B"}}}
	l := read(t, `{"name": "tcp/443", "filter_chains": [{"name": "x"}, {"name": "b"}, {"name": "a"}]}`,
		&listenerv3.Listener{})
	view.Show(l)
	var got []string
	for _, c := range l.FilterChains {
		got = append(got, c.Name)
	}
	if diff := cmp.Diff([]string{"A", "B", "x"}, got); diff != "" {
		t.Error(diff)
	}
	l.Name = "mine"
	if err := view.Restore(l); err == nil || !strings.Contains(err.Error(), `it is "tcp-443"`) {
		t.Errorf("renamed: %v", err)
	}
}

func TestApplyKeepsTheMessage(t *testing.T) {
	m := read(t, `{"name": "a", "connect_timeout": "1s"}`, &clusterv3.Cluster{})
	path := "/connect_timeout"
	op := &egv1a1.JSONPatchOperation{Op: "replace", Path: &path, Value: &apiextensionsv1.JSON{Raw: []byte(`"2s"`)}}
	got, err := Apply(m, op)
	if err != nil {
		t.Fatal(err)
	}
	if m.ConnectTimeout.Seconds != 1 || got.(*clusterv3.Cluster).ConnectTimeout.Seconds != 2 {
		t.Errorf("the message is %v and was %v", got, m)
	}
	op.Value.Raw = []byte(`"soon"`)
	if _, err := Apply(m, op); err == nil || strings.Contains(err.Error(), "\u00a0") {
		t.Errorf("error %v", err)
	}
}

// What a user may not reach is refused, wherever in the resource it is; what was there already is not.
func TestCheck(t *testing.T) {
	const endpoint = `{"name": "c", "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [
		{"endpoint": {"address": {"socket_address": {"address": "%", "port_value": 80}}}}]}]}}`
	at := func(address string) string { return strings.ReplaceAll(endpoint, "%", address) }
	routes := func(action string) string {
		return `{"name": "t", "virtual_hosts": [{"name": "h", "domains": ["h"], "routes": [
			{"match": {"prefix": "/"}, "route": {` + action + `}}]}]}`
	}
	listener := func(address string) string {
		return `{"name": "l", "address": {"socket_address": {"address": ` + address + `}}}`
	}
	foreign := func(cluster string) string {
		if cluster == "theirs" {
			return "Gateway/ns/other"
		}
		return ""
	}
	taken := func(port uint32) string {
		if port == 80 {
			return "Gateway/ns/other"
		}
		return ""
	}
	cluster := func() proto.Message { return &clusterv3.Cluster{} }
	table := func() proto.Message { return &routev3.RouteConfiguration{} }
	port := func() proto.Message { return &listenerv3.Listener{} }
	for name, c := range map[string]struct {
		like          func() proto.Message
		before, after string
		local         bool
		want          string
	}{
		"an address":           {like: cluster, after: at("192.0.2.1")},
		"loopback":             {like: cluster, after: at("127.0.0.1"), want: "127.0.0.1:80 is on the machine"},
		"loopback, mapped":     {like: cluster, after: at("::ffff:127.0.0.1"), want: "is on the machine"},
		"every address":        {like: cluster, after: at("0.0.0.0"), want: "is on the machine"},
		"metadata":             {like: cluster, after: at("169.254.169.254"), want: "is on the machine"},
		"localhost":            {like: cluster, after: at("LocalHost."), want: "is on the machine"},
		"loopback, allowed":    {like: cluster, after: at("127.0.0.1"), local: true},
		"loopback from before": {like: cluster, before: at("127.0.0.1"), after: at("127.0.0.1")},
		"a socket": {
			like: cluster, local: true, want: "the Unix socket /a",
			after: `{"name": "c", "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [
				{"endpoint": {"address": {"pipe": {"path": "/a"}}}}]}]}}`,
		},
		"no name":              {like: cluster, after: `{"connect_timeout": "1s"}`, want: "no valid Cluster"},
		"the control plane":    {like: table, after: routes(`"cluster": "sluice_xds"`), want: `"sluice_xds" is Envoy's own`},
		"another's cluster":    {like: table, after: routes(`"cluster": "theirs"`), want: "is a cluster of Gateway/ns/other"},
		"a cluster":            {like: table, after: routes(`"cluster": "mine"`)},
		"a cluster by header":  {like: table, after: routes(`"cluster_header": "x"`), want: "any cluster"},
		"from before":          {like: table, before: routes(`"cluster": "theirs"`), after: routes(`"cluster": "theirs"`)},
		"a listener":           {like: port, after: listener(`"0.0.0.0", "port_value": 81`)},
		"a listener elsewhere": {like: port, after: listener(`"0.0.0.0", "port_value": 80`), want: "port 80 is taken by"},
		"no port":              {like: port, after: listener(`"0.0.0.0", "named_port": "a"`), want: "with a port_value"},
		"another port": {
			like: port, before: listener(`"0.0.0.0", "port_value": 81`), after: listener(`"0.0.0.0", "port_value": 82`),
			want: "change it there",
		},
		"both address families": {
			like: port, before: listener(`"0.0.0.0", "port_value": 81`),
			after: listener(`"::", "port_value": 81, "ipv4_compat": true`),
		},
		"packed": {
			like: port, want: "no valid HttpConnectionManager",
			after: `{"name": "l", "address": {"socket_address": {"address": "::", "port_value": 81}}, "filter_chains": [{
				"filters": [` + strings.Replace(managing("a"), `"p"`, `""`, 1) + `]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before proto.Message
			if c.before != "" {
				before = read(t, c.before, c.like())
			}
			err := Check(before, read(t, c.after, c.like()), Limits{Local: c.local, Foreign: foreign, Taken: taken})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
