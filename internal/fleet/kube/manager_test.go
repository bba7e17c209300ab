package kube

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// authority issues certificates that say how many were issued before.
type authority struct {
	issued  atomic.Int64
	changed chan struct{}
}

func (a *authority) Proxy(name model.ProxyName) (certificate, key, ca []byte, renew time.Time, err error) {
	n := a.issued.Add(1)
	return fmt.Appendf(nil, "%s %d", name, n), []byte("key"), []byte("ca"), time.Now().Add(time.Hour), nil
}

func (a *authority) Changed() <-chan struct{} { return a.changed }

// counter counts the requests that change something.
type counter struct {
	next   http.RoundTripper
	writes atomic.Int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		c.writes.Add(1)
	}
	return c.next.RoundTrip(r)
}

// bench is a manager at work on an API server, as the leader.
type bench struct {
	*Manager
	t         *testing.T
	server    *apiserver.Server
	client    dynamic.Interface
	requests  *counter
	authority *authority

	mu     sync.Mutex
	placed map[model.ProxyName]resolve.Placement
}

var gatewayAddress = netip.MustParseAddr("192.0.2.7")

// newBench makes a manager that may do everything everywhere, unless change has it otherwise.
func newBench(t *testing.T, s *apiserver.Server, change ...func(*rest.Config, *Options)) *bench {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, server: s, client: client, requests: &counter{}, authority: &authority{changed: make(chan struct{}, 1)},
		placed: map[model.ProxyName]resolve.Placement{},
	}
	config := s.Config(apiserver.Admin)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		b.requests.next = next
		return b.requests
	})
	opts := Options{
		Settings: settings(), Identity: b.authority,
		Placed: func(name model.ProxyName, p resolve.Placement) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.placed[name] = p
		},
	}
	for _, c := range change {
		c(config, &opts)
	}
	if opts.Client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	b.Manager = New(opts)
	return b
}

// work runs the manager and leads until the test, or the returned function, ends it.
func (b *bench) work() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = b.Run(ctx) })
	done.Go(func() { _ = b.Lead(ctx) })
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) objects(kind, namespace string) dynamic.ResourceInterface {
	return b.client.Resource(resourceOf(kind)).Namespace(namespace)
}

// get returns an object, nil if there is none.
func (b *bench) get(kind, namespace, name string) *unstructured.Unstructured {
	b.t.Helper()
	o, err := b.objects(kind, namespace).Get(b.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *bench) apply(text string) *unstructured.Unstructured {
	b.t.Helper()
	o := new(unstructured.Unstructured)
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		b.t.Fatal(err)
	}
	resource := b.client.Resource(resourceOf(o.GetKind()))
	if o.GetKind() == "Namespace" {
		resource = b.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	}
	var in dynamic.ResourceInterface = resource
	if o.GetNamespace() != "" {
		in = resource.Namespace(o.GetNamespace())
	}
	out, err := in.Create(b.t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bench) patch(kind, namespace, name, patch string, sub ...string) {
	b.t.Helper()
	_, err := b.objects(kind, namespace).Patch(b.t.Context(), name, types.MergePatchType, []byte(patch),
		metav1.PatchOptions{}, sub...)
	if err != nil {
		b.t.Fatal(err)
	}
}

// eventually waits until a condition holds.
func (b *bench) eventually(what string, holds func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("never came true: %s; placed: %+v", what, b.placed)
		}
	}
}

func (b *bench) placement(name model.ProxyName) resolve.Placement {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.placed[name]
}

// settled waits until the fleet is as it is wanted and nothing is left to do.
func (b *bench) settled(f *resolve.Fleet) {
	b.t.Helper()
	rendered, err := Render(f, b.opts.Settings)
	if err != nil {
		b.t.Fatal(err)
	}
	want := append(rendered, &unstructured.Unstructured{Object: map[string]any{
		"kind": "Secret", "metadata": map[string]any{"name": identityName(f.Name)},
	}})
	b.eventually("all objects of "+f.Name, func() bool {
		for _, o := range want {
			live := b.get(o.GetKind(), f.Namespace, o.GetName())
			if live == nil || o.GetKind() != "Secret" && !inSync(o, live) {
				return false
			}
		}
		return len(b.live(f.Proxy)) == len(want) && b.queue.Len() == 0
	})
}

// fleetIn is a fleet in a namespace of its own.
func (b *bench) fleetIn(namespace, spec string) *resolve.Fleet {
	b.t.Helper()
	b.apply("{apiVersion: v1, kind: Namespace, metadata: {name: " + namespace + "}}")
	return sameFleet(b.t, namespace, spec)
}

func sameFleet(t *testing.T, namespace, spec string) *resolve.Fleet {
	f := gatewayFleet()
	f.Namespace, f.Proxy = namespace, model.ProxyName(namespace+"/gw")
	f.Owner.Namespace, f.Owner.UID = namespace, types.UID("uid-"+namespace)
	f.Gateways = []model.Name{f.Owner.Name}
	f.Spec = specOf(t, spec)
	return f
}

const (
	asDeployment = "{provider: {type: Kubernetes, kubernetes: {envoyHpa: {maxReplicas: 3}, envoyPDB: {minAvailable: 1}}}}"
	asDaemonSet  = "{provider: {type: Kubernetes, kubernetes: {envoyDaemonSet: {}}}}"
)

func TestManager(t *testing.T) {
	s := apiserver.Start(t)
	tests := map[string]func(*bench){
		"create and delete": testLife, "drift": testDrift, "switch": testSwitch,
		"placement": testPlacement, "certificate": testCertificate, "hold": testHold,
		"rights": testRights, "terminating": testTerminating,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, s)
			test(b)
		})
	}
}

func testLife(b *bench) {
	f := b.fleetIn("life", asDeployment)
	b.Want(f.Proxy, f)
	stop := b.work()
	b.settled(f)
	owner := b.get("Deployment", "life", f.Name).GetOwnerReferences()
	if len(owner) != 1 || owner[0].UID != "uid-life" || owner[0].Kind != "Gateway" {
		b.t.Errorf("owners: %+v", owner)
	}
	stop()

	// Another leader finds everything as it should be. That there are authorities is no news to it.
	again := newBench(b.t, b.server)
	again.authority.changed <- struct{}{}
	again.Want(f.Proxy, f)
	stop = again.work()
	again.eventually("the fleet is looked at", func() bool { return again.authority.issued.Load() > 0 })
	again.settled(f)
	if n := again.requests.writes.Load(); n != 0 {
		b.t.Errorf("%d writes though nothing changed", n)
	}
	again.Want(f.Proxy, nil)
	again.eventually("the objects are gone", func() bool {
		for _, k := range kinds {
			list, err := again.objects(k.kind, "life").List(b.t.Context(), metav1.ListOptions{
				LabelSelector: labelManagedBy + "=" + managedBy,
			})
			if err != nil {
				b.t.Fatal(err)
			}
			if len(list.Items) > 0 {
				return false
			}
		}
		return true
	})
	stop()
}

func testDrift(b *bench) {
	f := b.fleetIn("drift", "{}")
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	before := b.requests.writes.Load()

	b.patch("Deployment", "drift", f.Name, `{"spec": {"replicas": 7}, "metadata": {"labels": {"theirs": "stays"}}}`)
	b.eventually("replicas are mended", func() bool {
		n, _, _ := unstructured.NestedInt64(b.get("Deployment", "drift", f.Name).Object, "spec", "replicas")
		return n == 1
	})
	if b.get("Deployment", "drift", f.Name).GetLabels()["theirs"] != "stays" {
		b.t.Error("the label of another was removed")
	}
	b.patch("ConfigMap", "drift", f.Name, `{"data": {"bootstrap.json": "{}"}}`)
	b.patch("Service", "drift", f.Name, `{"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}`)
	if err := b.objects("ServiceAccount", "drift").Delete(b.t.Context(), f.Name, metav1.DeleteOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.eventually("all is mended", func() bool {
		data, _, _ := unstructured.NestedString(b.get("ConfigMap", "drift", f.Name).Object, "data", "bootstrap.json")
		return data != "{}" && b.get("Service", "drift", f.Name).GetLabels()[labelManagedBy] == managedBy &&
			b.get("ServiceAccount", "drift", f.Name) != nil
	})
	b.settled(f)
	if n := b.requests.writes.Load() - before; n != 4 {
		b.t.Errorf("%d writes for 4 things to mend", n)
	}
}

func testSwitch(b *bench) {
	f := b.fleetIn("switch", asDeployment)
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	next := sameFleet(b.t, "switch", asDaemonSet)
	b.Want(f.Proxy, next)
	b.eventually("DaemonSet", func() bool {
		return b.get("DaemonSet", "switch", f.Name) != nil &&
			b.get("HorizontalPodAutoscaler", "switch", f.Name) == nil && b.get("PodDisruptionBudget", "switch", f.Name) == nil
	})
	if b.get("Deployment", "switch", f.Name) == nil {
		b.t.Error("the Deployment is gone before the DaemonSet has a pod")
	}
	b.patch("DaemonSet", "switch", f.Name, `{"status": {"numberReady": 1, "currentNumberScheduled": 1,
		"desiredNumberScheduled": 1, "numberMisscheduled": 0}}`, "status")
	b.settled(next)
	if b.get("Deployment", "switch", f.Name) != nil {
		b.t.Error("the Deployment stays")
	}
}

func testPlacement(b *bench) {
	f := b.fleetIn("place", "{}")
	f.Addresses = []resolve.FleetAddress{{IP: gatewayAddress}}
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	name := mustRender(b.t, f)[slices.IndexFunc(mustRender(b.t, f), func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "Service"
	})].GetName()
	expect := func(what, reason string, addresses ...string) {
		b.t.Helper()
		b.eventually(what, func() bool {
			var got []string
			for _, a := range b.placement(f.Proxy).Addresses {
				got = append(got, a.Value)
			}
			return b.placement(f.Proxy).Reason == reason && slices.Equal(got, addresses)
		})
	}
	give := func(ip string) {
		b.patch("Service", "place", name, `{"status": {"loadBalancer": {"ingress": [{"ip": "`+ip+`"}]}}}`, "status")
	}
	expect("no address", "AddressNotUsable")
	give("192.0.2.99")
	expect("another address", "AddressNotUsable")
	give(gatewayAddress.String())
	expect("no pods", "NoResources", gatewayAddress.String())
	b.patch("Deployment", "place", f.Name, `{"status": {"replicas": 1, "readyReplicas": 1}}`, "status")
	expect("all there", "", gatewayAddress.String())
	b.patch("Deployment", "place", f.Name, `{"status": {"readyReplicas": 0}}`, "status")
	expect("pods gone", "NoResources", gatewayAddress.String())
}

func testCertificate(b *bench) {
	f := b.fleetIn("cert", "{}")
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	certificate := func() string {
		return string(field(b.get("Secret", "cert", identityName(f.Name)), "tls.crt"))
	}
	if got := certificate(); got != "cert/gw 1" {
		b.t.Errorf("certificate %q", got)
	}
	b.authority.changed <- struct{}{}
	b.eventually("another is issued when the authority changed", func() bool { return certificate() == "cert/gw 2" })
	b.patch("Secret", "cert", identityName(f.Name), `{"data": {"tls.crt": "YmFk"}}`)
	b.eventually("what somebody else wrote is replaced", func() bool { return certificate() == "cert/gw 3" })
}

func testHold(b *bench) {
	f := b.fleetIn("hold", asDeployment)
	held := sameFleet(b.t, "hold", "{}")
	held.Hold = "the EnvoyProxy is not valid"
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	before := b.requests.writes.Load()
	b.Want(f.Proxy, held)
	b.patch("Deployment", "hold", f.Name, `{"status": {"replicas": 1, "readyReplicas": 1}}`, "status")
	b.eventually("the held fleet is looked at", func() bool {
		return b.placement(f.Proxy).Reason == "" && b.queue.Len() == 0
	})
	if n := b.requests.writes.Load() - before; n != 0 || b.get("HorizontalPodAutoscaler", "hold", f.Name) == nil {
		b.t.Errorf("%d writes to a fleet that is held", n)
	}
}

// testImpostor has a user of another namespace write the name of the fleet on an object.
func testImpostor(b *bench) {
	f := b.fleetIn("victim", "{}")
	b.apply("{apiVersion: v1, kind: Namespace, metadata: {name: impostor}}")
	fake := b.apply(`{apiVersion: v1, kind: Service, metadata: {name: gw-sluice, namespace: impostor,
		labels: {app.kubernetes.io/managed-by: sluice, sluice.dev/installation: sluice-system.sluice},
		annotations: {sluice.dev/proxy: victim/gw}},
		spec: {type: LoadBalancer, ports: [{port: 80}]}}`)
	b.patch("Service", "impostor", "gw-sluice", `{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.66"}]}}}`,
		"status")
	b.Want(f.Proxy, f)
	b.work()
	b.settled(f)
	if got := b.placement(f.Proxy).Addresses; len(got) != 0 {
		b.t.Errorf("addresses of an impostor: %+v", got)
	}
	b.Want(f.Proxy, nil)
	b.eventually("ours are gone", func() bool { return b.get("Deployment", "victim", f.Name) == nil })
	if b.get("Service", "impostor", fake.GetName()) == nil {
		b.t.Error("another namespace's object was deleted")
	}
}
