// Package balancer gives the Services of type LoadBalancer of a cluster for tests their addresses, and routes each
// address to the nodes that serve it, as MetalLB does with BGP: to every ready node, or with the external traffic
// policy Local to those with a ready endpoint that pass the health check, or while there is none to those whose
// endpoints end but still serve. There the node's own kube-proxy takes over. A connection stays on its way when the
// nodes change, as it does at a balancer that knows connections: see sticky.go.
package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/test/cluster/api"
)

// Options says what a balancer does.
type Options struct {
	// Kubeconfig is a file as package api writes it.
	Kubeconfig string
	// Dynamic are the addresses for Services that ask for none. One that asks for an address with spec.loadBalancerIP may
	// have any free one of Dynamic and Static; others it never gets.
	Dynamic, Static Range
}

// The collections that are watched.
const (
	servicesPath = "/api/v1/services"
	nodesPath    = "/api/v1/nodes"
	slicesPath   = "/apis/discovery.k8s.io/v1/endpointslices"
)

// quiet is how long changes are gathered; retry is the pause after something failed.
const (
	quiet = 20 * time.Millisecond
	retry = 500 * time.Millisecond
)

// Run works until ctx is done. What fails is logged and tried again.
func Run(ctx context.Context, o Options) error {
	config, err := api.ReadKubeconfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := api.New(config, nil)
	if err != nil {
		return err
	}
	b := &balancer{Options: o, client: client, routes: map[string][]string{}, marks: map[string]int{}}
	for ctx.Err() == nil {
		if err := b.follow(ctx); err != nil && ctx.Err() == nil {
			log.Print(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return nil
}

type balancer struct {
	Options
	client *api.Client
	// routes are the next hops of each address that was routed.
	routes map[string][]string
	// marks are those of the connections of each node, by its address.
	marks map[string]int
	// problems are what was said last.
	problems []string
}

// change is what one of the watches saw.
type change struct {
	path, key string
	// object is empty for one that was deleted.
	object json.RawMessage
}

// follow lists everything, then works on changes until a watch ends.
func (b *balancer) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := world{}
	changes, ended := make(chan change, 1024), make(chan error, 3)
	for _, path := range []string{servicesPath, nodesPath, slicesPath} {
		version, err := b.list(ctx, path, w)
		if err != nil {
			return err
		}
		go func() { ended <- b.watch(ctx, path, version, changes) }()
	}
	for {
		settled, err := b.reconcile(ctx, w)
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if !settled {
			again = time.After(checkAgain)
		}
		select {
		case err := <-ended:
			return err
		case <-again:
			continue
		case c := <-changes:
			if err := w.apply(c); err != nil {
				return err
			}
		}
		for deadline := time.After(quiet); deadline != nil; {
			select {
			case c := <-changes:
				if err := w.apply(c); err != nil {
					return err
				}
			case <-deadline:
				deadline = nil
			}
		}
	}
}

func (b *balancer) list(ctx context.Context, path string, w world) (version string, err error) {
	var list struct {
		Metadata metav1.ListMeta   `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := b.client.Get(ctx, path, &list); err != nil {
		return "", err
	}
	for _, object := range list.Items {
		c, err := changeOf(path, object)
		if err != nil {
			return "", err
		}
		if err := w.apply(c); err != nil {
			return "", err
		}
	}
	return list.Metadata.ResourceVersion, nil
}

func (b *balancer) watch(ctx context.Context, path, version string, changes chan<- change) error {
	return b.client.Watch(ctx, path, version, func(event api.Event) error {
		if event.Type == "ERROR" { // the version is too old, for example
			return fmt.Errorf("watch %s: %s", path, event.Object)
		}
		c, err := changeOf(path, event.Object)
		if err != nil {
			return err
		}
		if event.Type == "DELETED" {
			c.object = nil
		}
		select {
		case changes <- c:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
}

func changeOf(path string, object json.RawMessage) (change, error) {
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(object, &meta); err != nil {
		return change{}, fmt.Errorf("read an object of %s: %w", path, err)
	}
	return change{path: path, key: meta.Namespace + "/" + meta.Name, object: object}, nil
}

// world is what is known: the objects by their collection and key.
type world map[string]map[string]any

func (w world) apply(c change) error {
	if w[c.path] == nil {
		w[c.path] = map[string]any{}
	}
	if c.object == nil {
		delete(w[c.path], c.key)
		return nil
	}
	object := map[string]any{
		servicesPath: new(corev1.Service), nodesPath: new(corev1.Node), slicesPath: new(discoveryv1.EndpointSlice),
	}[c.path]
	if err := json.Unmarshal(c.object, object); err != nil {
		return fmt.Errorf("read %s of %s: %w", c.key, c.path, err)
	}
	w[c.path][c.key] = object
	return nil
}

// sorted returns the objects of a collection by their keys.
func sorted[T any](w world, path string) []T {
	var out []T
	for _, key := range slices.Sorted(maps.Keys(w[path])) {
		out = append(out, w[path][key].(T))
	}
	return out
}

// reconcile gives addresses and makes routes. They are not settled while a node has not passed its health check.
func (b *balancer) reconcile(ctx context.Context, w world) (settled bool, err error) {
	health := &checks{ctx: ctx, routes: b.routes}
	services := sorted[*corev1.Service](w, servicesPath)
	p := plan{
		services: services, nodes: sorted[*corev1.Node](w, nodesPath),
		slices: sorted[*discoveryv1.EndpointSlice](w, slicesPath), dynamic: b.Dynamic, static: b.Static,
		pass: health.pass,
	}
	given, problems := p.addresses()
	routes := p.routes(given)
	for _, problem := range problems {
		if !slices.Contains(b.problems, problem) {
			log.Print(problem)
		}
	}
	b.problems = problems
	// The route comes first: an address in a status is one that can be used.
	if err := b.route(ctx, routes); err != nil {
		return false, err
	}
	for i, service := range services {
		if addressOf(service) == given[i] {
			continue
		}
		if err := b.give(ctx, service, given[i]); err != nil {
			return false, err
		}
	}
	return !health.failed, nil
}

// give writes an address, or with none that there is none, into the status of a Service.
func (b *balancer) give(ctx context.Context, service *corev1.Service, address string) error {
	status := corev1.LoadBalancerStatus{}
	if address != "" {
		mode := corev1.LoadBalancerIPModeVIP
		status.Ingress = []corev1.LoadBalancerIngress{{IP: address, IPMode: &mode}}
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/services/%s/status", service.Namespace, service.Name)
	patch := map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": status.Ingress}}}
	// One that was deleted meanwhile is told by the watch.
	if err := b.client.Patch(ctx, path, patch); err != nil && !errors.Is(err, api.ErrStatus) {
		return err
	}
	service.Status.LoadBalancer = status
	return nil
}

// route makes the routes of this network namespace what they should be.
func (b *balancer) route(ctx context.Context, want map[string][]string) error {
	if maps.EqualFunc(b.routes, want, slices.Equal) {
		return nil
	}
	// Marks come first: a connection that began without one would get it later, and go on at another node.
	if err := b.stick(ctx, want); err != nil {
		return err
	}
	for _, address := range slices.Sorted(maps.Keys(want)) {
		if slices.Equal(b.routes[address], want[address]) {
			continue
		}
		args := []string{"route", "replace", address + "/32"}
		if len(want[address]) == 0 {
			args = []string{"route", "replace", "unreachable", address + "/32"}
		}
		for _, hop := range want[address] {
			args = append(args, "nexthop", "via", hop)
		}
		if err := ip(ctx, args...); err != nil {
			return err
		}
		b.routes[address] = want[address]
	}
	for _, address := range slices.Sorted(maps.Keys(b.routes)) {
		if _, ok := want[address]; ok {
			continue
		}
		if err := ip(ctx, "route", "del", address+"/32"); err != nil {
			return err
		}
		delete(b.routes, address)
	}
	return nil
}

func ip(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
