// Package featuretest is what the tests of the features share: golden files and checks of messages.
//
// A golden file holds two YAML documents: what a user wrote and where ([Input]), and what the feature makes of it. Run
// the tests with -update to write the second anew.
package featuretest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Input is the first document of a golden file.
type Input struct {
	// Match is the path prefix of the only match, Exact its whole path. Without either it is the prefix "/".
	Match string `json:"match"`
	Exact string `json:"exact"`
	// Port and Secure are those of the listener; the default is 80.
	Port   uint16 `json:"port"`
	Secure bool   `json:"secure"`
	// Spec is what the user wrote: the field that the feature is named after.
	Spec json.RawMessage `json:"spec"`
	// Backends are the names of Services that the references in Spec resolve to; an empty name is an invalid one.
	Backends []string `json:"backends"`
	// Objects are what the references in Spec to Secrets and ConfigMaps lead to.
	Objects []Object `json:"objects"`
	// Fetched are what the references in Spec to things on servers lead to; an empty one cannot be fetched.
	Fetched []string `json:"fetched"`
	// Path is where Spec was written; the default is the first filter of a rule.
	Path string `json:"path"`
	// Protocol is what the backend speaks, of which the cluster is that is given to features that shape clusters.
	Protocol model.AppProtocol `json:"protocol"`
	// Cluster is what that cluster has besides, as Envoy writes it in JSON.
	Cluster json.RawMessage `json:"cluster"`
	// Beside are other fields of the policy, which Check sees.
	Beside egv1a1.ClusterSettings `json:"beside"`
	// JWT is the field jwt of a SecurityPolicy beside the one that the spec is.
	JWT *egv1a1.JWT `json:"jwt"`
	// Proxy is what the EnvoyProxy of the Gateway says.
	Proxy *egv1a1.EnvoyProxySpec `json:"proxy"`
	// Trust are the names of ConfigMaps with CA certificates that the references in Spec lead to, Revoked those of
	// ConfigMaps with what is revoked of these.
	Trust   []string `json:"trust"`
	Revoked []string `json:"revoked"`
	// Places are the databases that the proxies have.
	Places model.Databases `json:"places"`
	// Hostnames are those of the listener that is given to features that shape listeners.
	Hostnames []string `json:"hostnames"`
}

// Object is an object of namespace default that a spec refers to.
type Object struct {
	// Kind is Secret if it is empty.
	Kind string            `json:"kind"`
	Name string            `json:"name"`
	Data map[string]string `json:"data"`
}

// Model returns the object as features see it.
func (o Object) Model() model.Object {
	ref := model.Ref{Kind: o.Kind, Name: model.Name{Namespace: "default", Name: o.Name}}
	if ref.Kind == "" {
		ref.Kind = model.KindSecret
	}
	out := model.Object{Ref: ref, Data: map[string][]byte{}}
	for key, text := range o.Data {
		out.Data[key] = []byte(text)
	}
	return out
}

// Fetched returns what came of fetching something, or that it failed if that is empty.
func Fetched(data string) model.Fetched {
	if data == "" {
		return model.Fetched{Error: "the server answers 404 Not Found"}
	}
	sum := sha256.Sum256([]byte(data))
	return model.Fetched{Data: []byte(data), SHA256: hex.EncodeToString(sum[:])}
}

// Golden applies f to the input of every golden file in testdata and compares what it adds to the route, the filters
// that it needs, the backends that the route then needs besides its own, the cluster that it makes, and what it adds to
// listeners: one for HTTPS, and one that ends TLS and passes connections on.
func Golden[T any](t *testing.T, f feature.Feature) {
	t.Helper()
	GoldenIn[T](t, f, "testdata")
}

// GoldenIn is [Golden] for the files in another folder: that of one of several features in a package.
func GoldenIn[T any](t *testing.T, f feature.Feature, folder string) {
	t.Helper()
	api := reflect.TypeFor[T]()
	files := Files(t, folder)
	if len(files) == 0 {
		t.Fatalf("no golden files in %s", folder)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { golden(t, f, file, api) })
	}
	for _, r := range Refusals(t, folder) {
		t.Run("refused "+r.Field, func(t *testing.T) { r.expect(t, f, api) })
	}
}

func golden(t *testing.T, f feature.Feature, file string, api reflect.Type) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, want, _ := bytes.Cut(text, []byte("---\n"))
	c := Read(t, file, api)
	out := c.Render(t, f, c.Input.Spec)
	if out.Refused != nil {
		t.Fatalf("%s: refused: %v", file, out.Refused)
	}
	got, err := yaml.Marshal(out.Envoy)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, file, slices.Concat(head, []byte("---\n"), got))
	} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), run with -update to accept:\n%s", file, diff)
	}
}

// Generated fails the test if a file is not what it should be; with -update it writes the file.
func Generated(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		write(t, file, want)
		return
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v), run go generate", file, err)
	}
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // not secret
		t.Fatal(err)
	}
}

func (in *Input) attached(f feature.Feature, spec any) model.Attached {
	a := model.Attached{Feature: f.Name(), Spec: spec, Path: "spec.rules[0].filters[0]"}
	if in.Path != "" {
		a.Path = in.Path
	}
	if in.Proxy != nil {
		a.Proxy = in.Proxy
	}
	for _, name := range in.Backends {
		a.Backends = append(a.Backends, Service(name))
	}
	for _, o := range in.Objects {
		a.Objects = append(a.Objects, o.Model())
	}
	if len(in.Trust) > 0 {
		a.Trust = model.TrustIn(configMaps(in.Trust)).But(configMaps(in.Revoked))
	}
	a.Places = in.Places.Places()
	for _, data := range in.Fetched {
		a.Fetched = append(a.Fetched, Fetched(data))
	}
	return a
}

func configMaps(names []string) []model.Ref {
	var out []model.Ref
	for _, name := range names {
		out = append(out, Object{Kind: model.KindConfigMap, Name: name}.Model().Ref)
	}
	return out
}

func (in *Input) route() *feature.Route {
	match := PrefixMatch("/")
	switch {
	case in.Exact != "":
		match = model.Match{Path: model.ValueMatch{Type: model.Exact, Value: in.Exact}}
	case in.Match != "":
		match = PrefixMatch(in.Match)
	}
	r := NewRoute(&model.Rule{Matches: []model.Match{match}}, match)
	r.Secure = in.Secure
	if in.Port != 0 {
		r.Port = in.Port
	}
	return r
}

// beside are the other fields of the policy as features see them.
func (in *Input) beside() []model.Attached {
	var out []model.Attached
	if in.JWT != nil {
		out = append(out, model.Attached{Feature: model.KindSecurityPolicy + ".jwt", Spec: in.JWT, Path: "spec.jwt"})
	}
	fields := reflect.ValueOf(in.Beside)
	for i := range fields.NumField() {
		if field := fields.Field(i); !field.IsNil() {
			name, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
			out = append(out, model.Attached{
				Feature: model.KindBackendTrafficPolicy + "." + name, Spec: field.Interface(), Path: "spec." + name,
			})
		}
	}
	return out
}

// cluster is that of a Service before any feature is applied, as far as features look at it.
func (in *Input) cluster(t *testing.T) *feature.Cluster {
	t.Helper()
	out := &clusterv3.Cluster{}
	if len(in.Cluster) > 0 {
		if err := protojson.Unmarshal(in.Cluster, out); err != nil {
			t.Fatal(err)
		}
	}
	out.CircuitBreakers = thresholds()
	return &feature.Cluster{Proto: out, Backend: &model.Backend{Key: Service("shop"), Protocol: in.Protocol}}
}

func thresholds() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{}}}
}

// twoZones are the endpoints of a backend before any feature is applied: one in each of the zones a and b.
func twoZones() *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{}
	for _, zone := range []string{"a", "b"} {
		out.Endpoints = append(out.Endpoints, &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{Zone: zone},
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
					SocketAddress: &corev3.SocketAddress{
						Address: "192.0.2.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
					},
				}}},
			}}},
		})
	}
	return out
}

// describe writes what differs from the route that [NewRoute] returns, from the cluster before, and from its endpoints.
func describe(
	t *testing.T, r *feature.Route, scope *feature.Scope, cluster *feature.Cluster,
	endpoints *endpointv3.ClusterLoadAssignment,
) map[string]any {
	t.Helper()
	added := proto.CloneOf(r.Proto)
	added.Match = nil
	if action := added.GetRoute(); action != nil {
		action.ClusterSpecifier = nil
		if action.GetTimeout().AsDuration() == 0 {
			action.Timeout = nil
		}
		if proto.Size(action) == 0 {
			added.Action = nil
		}
	}
	out := map[string]any{"route": jsonValue(t, added)}
	var filters []any
	for _, f := range scope.Filters {
		filters = append(filters, jsonValue(t, f))
	}
	if filters != nil {
		out["httpFilters"] = filters
	}
	perFilter := map[string]any{}
	for name, config := range scope.PerFilter {
		perFilter[name] = jsonValue(t, config)
	}
	if len(perFilter) > 0 {
		out["perFilter"] = perFilter
	}
	if proto.Equal(cluster.Proto.GetCircuitBreakers(), thresholds()) {
		cluster.Proto.CircuitBreakers = nil
	}
	if !proto.Equal(endpoints, twoZones()) {
		out["endpoints"] = jsonValue(t, endpoints)
	}
	if proto.Size(cluster.Proto) > 0 {
		out["cluster"] = jsonValue(t, cluster.Proto)
	}
	var needs []string
	for _, b := range slices.Concat(r.Needs, scope.Needs) {
		needs = append(needs, b.String())
	}
	if needs != nil {
		out["needs"] = needs
	}
	return out
}

// jsonValue goes by way of JSON values because the spacing of protojson's text is random on purpose.
func jsonValue(t *testing.T, m proto.Message) any {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Service returns the key of the Service of a name, or the zero value for an empty name.
func Service(name string) model.BackendKey {
	if name == "" {
		return model.BackendKey{}
	}
	return model.BackendKey{Kind: model.KindService, Name: model.Name{Namespace: "default", Name: name}, Port: 80}
}

// PrefixMatch returns a match by path prefix.
func PrefixMatch(path string) model.Match {
	return model.Match{Path: model.ValueMatch{Type: model.Prefix, Value: path}}
}

// NewRoute returns the Envoy route of a match of a rule before any feature is applied: matched by path, sent to one
// cluster, without Envoy's default timeout. It is served on port 80.
func NewRoute(rule *model.Rule, match model.Match) *feature.Route {
	path := match.Path.Value
	m := &routev3.RouteMatch{}
	switch {
	case match.Path.Type == model.Exact:
		m.PathSpecifier = &routev3.RouteMatch_Path{Path: path}
	case strings.Trim(path, "/") == "":
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimRight(path, "/")}
	}
	return &feature.Route{
		Proto: &routev3.Route{Match: m, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "backend"},
			Timeout:          durationpb.New(0),
		}}},
		Rule: rule, Match: match, Port: 80,
	}
}

// Expect fails the test unless the problems have exactly one message that contains want, or are none if want is empty.
func Expect(t *testing.T, problems []feature.Problem, want string) {
	t.Helper()
	switch {
	case want == "" && len(problems) > 0:
		t.Errorf("refused: %v", problems)
	case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Message, want)):
		t.Errorf("got %v, want one problem with %q", problems, want)
	}
	for _, p := range problems {
		if p.Reason == "" || p.Message == "" || p.Message[0] < 'A' || p.Message[0] > 'Z' {
			t.Errorf("problem %+v needs a reason and a message that starts with a capital letter", p)
		}
	}
}
