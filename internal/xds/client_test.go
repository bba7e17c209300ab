package xds

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/model"
)

const testProxy = model.ProxyName("edge")

// harness is a server on an in-memory listener inside a synctest bubble: time passes only when everything is idle.
type harness struct {
	t       *testing.T
	server  *Server
	listen  *bufconn.Listener
	log     eventLog
	clients []*client
}

// bubble runs the test in a bubble with a server that keeps unused clusters for the grace.
func bubble(t *testing.T, grace time.Duration, run func(h *harness)) {
	bubbleWith(t, Options{Grace: grace, ScopesFrom: -1}, Connection{}, run)
}

// allForms runs the test in a bubble with route configurations in one piece, in one with all virtual hosts as resources
// of their own, and in one in which these are divided among scopes where there are so many.
func allForms(t *testing.T, grace time.Duration, scopesFrom int, run func(h *harness)) {
	in := func(name string, hostsFrom, scopesFrom int) {
		t.Run(name, func(t *testing.T) {
			bubbleWith(t, Options{Grace: grace, HostsFrom: hostsFrom, ScopesFrom: scopesFrom}, Connection{}, run)
		})
	}
	in("RDS", -1, -1)
	in("VHDS", 1, -1)
	in("SRDS", 1, scopesFrom)
}

func bubbleWith(t *testing.T, o Options, connection Connection, run func(h *harness)) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{t: t, listen: bufconn.Listen(1 << 20)}
		o.Authorize = func(context.Context, *corev3.Node) (model.ProxyName, error) { return testProxy, nil }
		o.Observer = h.log.add
		h.server = NewServer(o)
		g := grpc.NewServer(ServerOptions(connection)...)
		h.server.Register(g)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := g.Serve(h.listen); err != nil {
				t.Errorf("Serve: %v", err)
			}
		}()
		defer func() {
			for _, c := range h.clients {
				c.cancel()
			}
			g.Stop()
			<-done
		}()
		run(h)
	})
}

// of returns the events of a kind so far.
func (h *harness) of(kind EventKind) []Event {
	synctest.Wait()
	return slices.DeleteFunc(h.log.all(), func(e Event) bool { return e.Kind != kind })
}

// client is a scripted Envoy.
type client struct {
	t       *testing.T
	service discoveryv3.AggregatedDiscoveryServiceClient
	stream  discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	got     chan *discoveryv3.DeltaDiscoveryResponse
	ended   atomic.Pointer[error]
	cancel  func()
	first   bool
}

func (h *harness) connect() *client {
	h.t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.listen.DialContext(ctx) }))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	service := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	stream, err := service.DeltaAggregatedResources(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &client{
		t: h.t, service: service, stream: stream, first: true,
		got: make(chan *discoveryv3.DeltaDiscoveryResponse, 1000),
	}
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				c.ended.Store(&err)
				return
			}
			c.got <- r
		}
	}()
	c.cancel = func() {
		cancel()
		conn.Close()
		synctest.Wait()
	}
	h.clients = append(h.clients, c)
	return c
}

// end is how the stream ended, nil if it has not.
func (c *client) end() error {
	if err := c.ended.Load(); err != nil {
		return *err
	}
	return nil
}

func (c *client) send(req *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	if c.first {
		req.Node = &corev3.Node{Id: "envoy-1"}
		c.first = false
	}
	if err := c.stream.Send(req); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	synctest.Wait()
}

func (c *client) subscribe(t Type, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: t.URL(), ResourceNamesSubscribe: names})
}

// next returns the next response, which must be there already.
func (c *client) next() *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	synctest.Wait()
	select {
	case r := <-c.got:
		return r
	default:
		c.t.Fatal("no response")
		return nil
	}
}

// expect checks the next response against "type name name -removed".
func (c *client) expect(want string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.next()
	if got := brief(r); got != want {
		c.t.Fatalf("response %q, want %q", got, want)
	}
	return r
}

func brief(r *discoveryv3.DeltaDiscoveryResponse) string {
	t, _ := typeOf(r.TypeUrl)
	words := []string{t.String()}
	for _, res := range r.Resources {
		words = append(words, res.Name)
	}
	for _, name := range r.RemovedResources {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

// quiet checks that there is no response.
func (c *client) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case r := <-c.got:
		c.t.Fatalf("unexpected response %q", brief(r))
	default:
	}
}

func (c *client) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
}

func (c *client) nack(r *discoveryv3.DeltaDiscoveryResponse, message string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: &status.Status{Message: message},
	})
}

// vhosts returns the "name=version" of the virtual hosts of a response with one route configuration.
func vhosts(t *testing.T, r *discoveryv3.DeltaDiscoveryResponse) []string {
	t.Helper()
	if len(r.Resources) != 1 {
		t.Fatalf("%d resources, want 1", len(r.Resources))
	}
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(r.Resources[0].Resource.Value, &rc); err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, v := range rc.VirtualHosts {
		list = append(list, v.Name+"="+versionIn(v))
	}
	return list
}

// expectHosts is expect for one route configuration with these virtual hosts.
func (c *client) expectHosts(want ...string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.next()
	if r.TypeUrl != Routes.URL() {
		c.t.Fatalf("response %q, want routes", brief(r))
	}
	got := vhosts(c.t, r)
	if slices.Sort(got); !slices.Equal(got, want) {
		c.t.Fatalf("virtual hosts %v, want %v", got, want)
	}
	return r
}

// set is a change to a resource whose bytes are made of its name and version. Listeners look for the routes of their
// name; for the rest any type would do for the client, so all are cluster load assignments.
func set(t Type, name, version string, needs ...string) Change {
	var c Change
	if t == Listener {
		c = serving((&rig{dir: "/tmp"}).realListener(name), version)
	} else {
		c = message(t, name, &endpointv3.ClusterLoadAssignment{
			ClusterName: name, NamedEndpoints: map[string]*endpointv3.Endpoint{version: {}},
		})
	}
	c.Resource.Needs = needs
	c.Resource.Owners = []model.Ref{{Kind: t.String(), Name: model.Name{Name: name}}}
	return c
}

func drop(t Type, name string) Change { return Change{Type: t, Name: name} }

// part is a virtual host whose version is a header that it removes.
func part(name, version string, needs ...string) *Part {
	host := &routev3.VirtualHost{Name: name, Domains: []string{name}, ResponseHeadersToRemove: []string{version}}
	p := hostPart(host, needs...)
	p.Owners = []model.Ref{{Kind: model.KindHTTPRoute, Name: model.Name{Name: name}}}
	return p
}

// versionIn is the version of a part.
func versionIn(v *routev3.VirtualHost) string {
	return strings.Join(v.GetResponseHeadersToRemove(), ",")
}

// routes is a change to a route configuration of which the named parts changed.
func routes(name string, parts []*Part, changed ...string) Change {
	return routesOf(name, NewParts(parts), changed...)
}

func routesOf(name string, parts Parts, changed ...string) Change {
	body := empty(name).Body
	r := &Resource{Name: name, Hash: RoutesHash(body, parts), Body: body, Parts: parts}
	return Change{Type: Routes, Name: name, Resource: r, Parts: changed}
}
