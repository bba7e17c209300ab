package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/cluster/api"
)

// TestFleets follows two Gateways in two namespaces from their creation to their end.
func TestFleets(t *testing.T) {
	w := begin(t)
	other := w.namespace("-other")
	spaces := []string{w.ns, other}
	for i, ns := range spaces {
		name := []string{"one", "two"}[i]
		w.apply(proxy(ns, replicas(1)) + backend(ns, name, 1) + route(ns, "route", name+".example", name))
	}
	w.programmedMeansServed(other, "two.example", "two")
	w.apply(gateway(w.ns, "gateway"))
	one, two := w.programmed(w.ns, "gateway"), w.programmed(other, "gateway")
	w.answers(one, "one.example", "one")
	w.answers(two, "two.example", "two")
	if one == two {
		t.Fatalf("both Gateways are at %s", one)
	}
	// Neither serves what is the other's.
	for address, host := range map[string]string{one: "two.example", two: "one.example"} {
		if status, err := w.ask(address, host, "/", ""); status != 404 {
			t.Errorf("%s at the other Gateway: %d, %v; want 404", host, status, err)
		}
	}
	for _, ns := range spaces {
		if got, want := w.made(ns), []string{
			"configmap", "deployment", "secret", "service", "serviceaccount",
		}; !slices.Equal(got, want) {
			t.Errorf("made in %s: %v, want %v", ns, got, want)
		}
	}
	w.kubectl("-n", other, "delete", "gateway", "gateway")
	w.eventually("what was made for the Gateway to go", func() error {
		if left := w.made(other); len(left) > 0 {
			return fmt.Errorf("there is %v", left)
		}
		return w.ready(other, "gateway", 0)
	})
	if err := w.answered(one, "one.example", "one"); err != nil {
		t.Errorf("the other Gateway after that: %v", err)
	}
}

// made returns the kinds of the objects that were made for the Gateways of a namespace.
func (w *world) made(ns string) []string {
	w.t.Helper()
	out := strings.Fields(w.kubectl("-n", ns, "get", "-l", "app.kubernetes.io/managed-by=sluice", "-o", "name",
		"configmaps,daemonsets,deployments,horizontalpodautoscalers,poddisruptionbudgets,secrets,services,serviceaccounts"))
	out = slices.DeleteFunc(out, func(name string) bool { return strings.HasPrefix(name, "poddisruptionbudget") })
	for i, name := range out {
		kind, _, _ := strings.Cut(name, "/")
		out[i], _, _ = strings.Cut(kind, ".")
	}
	slices.Sort(out)
	return out
}

// programmedMeansServed makes a Gateway whose route is there already and asks, at the moment that the Gateway is said
// to be programmed, each Envoy that is ready: the configuration must be in use.
func (w *world) programmedMeansServed(ns, host, service string) {
	w.t.Helper()
	w.apply(gateway(ns, "gateway"))
	w.servedWhenProgrammed(ns, host, service)
}

// servedWhenProgrammed waits until the Gateway of a namespace is said to be programmed, and asks each Envoy that is
// ready at that moment.
func (w *world) servedWhenProgrammed(ns, host, service string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := w.followIn(ctx, ns, func(g *gwv1.Gateway) {
		if isProgrammed(g) == nil {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.t.Fatalf("the Gateway is never programmed: %v", err)
	}
	pods, err := w.envoys(ns, "gateway")
	if err != nil {
		w.t.Fatal(err)
	}
	asked := 0
	for _, p := range pods {
		if !isReady(p) {
			continue
		}
		asked++
		// The pod itself: the Service's rules are kube-proxy's to write, later.
		if err := w.answered(net.JoinHostPort(p.Status.PodIP, "80"), host, service); err != nil {
			w.t.Errorf("the Gateway is programmed, but Envoy %s does not serve the route: %v", p.Name, err)
		}
	}
	if asked == 0 {
		w.t.Error("the Gateway is programmed, but no Envoy is ready")
	}
}

// followIn calls see with each state of the Gateways of a namespace, from the present one, until ctx ends, whose error
// it then returns.
func (w *world) followIn(ctx context.Context, ns string, see func(*gwv1.Gateway)) error {
	return w.followAll(ctx, strings.TrimSuffix(gatewayPath(ns, ""), "/"), func(object json.RawMessage) error {
		g := new(gwv1.Gateway)
		if err := json.Unmarshal(object, g); err != nil {
			return err
		}
		see(g)
		return nil
	})
}

// followAll calls see with each state of the objects of a collection, from the present one, until ctx ends, whose error
// it then returns.
func (w *world) followAll(ctx context.Context, collection string, see func(json.RawMessage) error) error {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []json.RawMessage
	}
	for ctx.Err() == nil {
		if err := w.api.Get(ctx, collection, &list); err != nil {
			return err
		}
		for _, object := range list.Items {
			if err := see(object); err != nil {
				return err
			}
		}
		err := w.api.Watch(ctx, collection, list.Metadata.ResourceVersion, func(e api.Event) error {
			if e.Type == "ERROR" {
				return errWatchEnded
			}
			return errors.Join(see(e.Object), ctx.Err())
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, errWatchEnded) {
			return err
		}
	}
	return ctx.Err()
}

// errWatchEnded says that the API server ended a watch, as it does when the definition of the resource changes.
var errWatchEnded = errors.New("the watch was ended")

// follow is followIn in the test's own namespace.
func (w *world) follow(ctx context.Context, see func(*gwv1.Gateway)) error {
	return w.followIn(ctx, w.ns, see)
}

// TestNotProgrammed has no Envoy that could have taken the configuration, and then one.
func TestNotProgrammed(t *testing.T) {
	w := begin(t)
	w.apply(proxy(w.ns, "{envoyDeployment: {replicas: 0}}") + gateway(w.ns, "gateway"))
	w.eventually("the Gateway to say that it has an address but no Envoy", w.noResources)
	if g, err := w.gatewayObject(w.ns, "gateway"); err != nil || isProgrammed(g) == nil {
		t.Errorf("the Gateway is programmed without Envoys: %v", err)
	}
	w.patch(proxyPath(w.ns, "proxy"), `{"spec":{"provider":{"kubernetes":{"envoyDeployment":{"replicas":1}}}}}`)
	w.programmed(w.ns, "gateway")
}

// TestShape edits the EnvoyProxy of a Gateway, and has its fleet follow.
func TestShape(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.patch(proxyPath(w.ns, "proxy"), `{"spec":{"provider":{"kubernetes":{
	  "envoyDeployment": {"replicas": 2, "pod": {"labels": {"team": "edge"}}},
	  "envoyService": {"annotations": {"example.com/shape": "yes"}, "externalTrafficPolicy": "Cluster"},
	  "envoyPDB": {"minAvailable": null, "maxUnavailable": 1}}}}}`)
	w.eventually("two Envoys with the label", func() error {
		pods, err := w.pods(w.ns, gatewayLabel+"=gateway,team=edge")
		if err == nil && len(pods) != 2 {
			err = fmt.Errorf("%d pods have it", len(pods))
		}
		return errors.Join(err, w.ready(w.ns, "gateway", 2))
	})
	w.eventually("the Service and the budget", func() error {
		s, err := one[corev1.Service](w, "/api/v1", "services")
		if err != nil {
			return err
		}
		b, err := one[policyv1.PodDisruptionBudget](w, "/apis/policy/v1", "poddisruptionbudgets")
		if err != nil {
			return err
		}
		if s.Annotations["example.com/shape"] != "yes" || s.Spec.ExternalTrafficPolicy != "Cluster" {
			return fmt.Errorf("the Service is %+v", s)
		}
		if b.Spec.MinAvailable != nil || b.Spec.MaxUnavailable.IntValue() != 1 {
			return fmt.Errorf("the budget is %+v", b.Spec)
		}
		return nil
	})
	w.answers(address, "one.example", "one")
	w.patch(proxyPath(w.ns, "proxy"),
		`{"spec":{"provider":{"kubernetes":{"envoyPDB": null, "envoyHpa": {"minReplicas": 1, "maxReplicas": 3}}}}}`)
	w.eventually("an autoscaler in the place of the budget", func() error {
		h, err := one[autoscalingv2.HorizontalPodAutoscaler](w, "/apis/autoscaling/v2", "horizontalpodautoscalers")
		if err != nil {
			return err
		}
		if h.Spec.MaxReplicas != 3 {
			return fmt.Errorf("it is %+v", h.Spec)
		}
		if _, err := one[policyv1.PodDisruptionBudget](w, "/apis/policy/v1", "poddisruptionbudgets"); err == nil {
			return errors.New("the budget is still there")
		}
		return nil
	})
	// The number of Envoys is the autoscaler's now.
	d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl("-n", w.ns, "scale", "deployment", d.Name, "--replicas=1")
	w.eventually("as many Envoys as the autoscaler wants", func() error { return w.ready(w.ns, "gateway", 1) })
	w.kubectl("-n", w.ns, "label", "deployment", d.Name, "app.kubernetes.io/component=other", "--overwrite")
	w.eventually("the label to be put right", func() error {
		d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
		if err == nil && d.Labels["app.kubernetes.io/component"] != "proxy" {
			err = fmt.Errorf("it is %q", d.Labels["app.kubernetes.io/component"])
		}
		if err == nil && *d.Spec.Replicas != 1 {
			t.Fatalf("the Deployment was scaled to %d against the autoscaler", *d.Spec.Replicas)
		}
		return err
	})
}

// one returns the object of a kind that was made for the Gateway of the test.
func one[T any](w *world, group, plural string) (*T, error) {
	var list struct{ Items []T }
	path := fmt.Sprintf("%s/namespaces/%s/%s?labelSelector=%s=gateway", group, w.ns, plural, gatewayLabel)
	if err := w.get(path, &list); err != nil {
		return nil, err
	}
	if len(list.Items) != 1 {
		return nil, fmt.Errorf("there are %d %s", len(list.Items), plural)
	}
	return &list.Items[0], nil
}

// TestDrift changes and removes what was made for a Gateway, under load that must not notice.
func TestDrift(t *testing.T) {
	w := begin(t)
	address := w.quickstart(2)
	traffic := w.load(address, "one.example", "one")
	d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl("-n", w.ns, "scale", "deployment", d.Name, "--replicas=3")
	w.kubectl("-n", w.ns, "patch", "service", d.Name, "--type=merge", "-p", `{"spec":{"externalTrafficPolicy":"Cluster"}}`)
	w.kubectl("-n", w.ns, "delete", "serviceaccount,poddisruptionbudget", d.Name)
	w.kubectl("-n", w.ns, "patch", "configmap", d.Name, "--type=merge", "-p", `{"data":{"bootstrap.json":"{}"}}`)
	w.eventually("all to be put right", func() error {
		s, err := one[corev1.Service](w, "/api/v1", "services")
		if err != nil {
			return err
		}
		if s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
			return fmt.Errorf("the Service has the policy %s", s.Spec.ExternalTrafficPolicy)
		}
		c, err := one[corev1.ConfigMap](w, "/api/v1", "configmaps")
		if err != nil {
			return err
		}
		if c.Data["bootstrap.json"] == "{}" {
			return errors.New("the bootstrap is not put right")
		}
		_, account := one[corev1.ServiceAccount](w, "/api/v1", "serviceaccounts")
		_, budget := one[policyv1.PodDisruptionBudget](w, "/apis/policy/v1", "poddisruptionbudgets")
		return errors.Join(account, budget, w.ready(w.ns, "gateway", 2))
	})
	traffic.none()

	// Nobody can serve without these. They come back, and with them the address and the traffic.
	w.kubectl("-n", w.ns, "delete", "deployment,service", d.Name)
	w.eventually("another Deployment and Service", func() error {
		again, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
		if err == nil && again.UID == d.UID {
			err = errors.New("it is the old one")
		}
		_, service := one[corev1.Service](w, "/api/v1", "services")
		return errors.Join(err, service, w.ready(w.ns, "gateway", 2))
	})
	w.eventually("traffic at the address of the new Service", func() error {
		g, err := w.gatewayObject(w.ns, "gateway")
		if err != nil {
			return err
		}
		if err := isProgrammed(g); err != nil {
			return err
		}
		return w.answered(g.Status.Addresses[0].Value, "one.example", "one")
	})
}

// quiet waits until the Gateways of a namespace are not written any more for some time.
func (w *world) quiet(ns string) {
	w.t.Helper()
	version, since := "", time.Now()
	const calm = 3 * time.Second
	w.eventually("no more writes", func() error {
		var list struct{ Items []gwv1.Gateway }
		if err := w.get(strings.TrimSuffix(gatewayPath(ns, ""), "/"), &list); err != nil {
			return err
		}
		now := ""
		for _, g := range list.Items {
			now += g.ResourceVersion + " "
		}
		if now != version {
			version, since = now, time.Now()
		}
		if time.Since(since) < calm {
			return errors.New("there was one just now")
		}
		return nil
	})
}
