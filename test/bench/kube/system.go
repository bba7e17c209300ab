package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gateway/sluice/test/bench/usage"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
)

// system is something that serves Gateways.
type system struct {
	name, class string
	// control and proxy are where the pods of the control plane and of the Gateway's Envoy are.
	control, proxy pods
	install        func(ctx context.Context, c *cluster.Cluster) error
	uninstall      func(ctx context.Context, c *cluster.Cluster) error
}

// pods are found by namespace and labels, and their process by its name.
type pods struct{ namespace, selector, process string }

// quietClass is a class of Sluice's whose Envoys write no access logs, as those of the peer's do not.
var quietClass = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: bench, namespace: ` + release.Default.Namespace + `}
spec:
  telemetry: {accessLog: {disable: true}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bench-sluice}
spec:
  controllerName: sluice.dev/gateway-controller
  parametersRef:
    {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: bench, namespace: ` + release.Default.Namespace + `}
`

// sluice runs with one replica, for the peer has one.
var sluice = system{
	name:    "sluice",
	class:   "bench-sluice",
	control: pods{release.Default.Namespace, release.Default.Selector(), "sluice"},
	proxy:   pods{namespace, "gateway.networking.k8s.io/gateway-name=" + gatewayName, "envoy"},
	install: func(ctx context.Context, c *cluster.Cluster) error {
		if err := release.Default.Install(ctx, c, "replicas=1", "resources.limits.memory=4Gi"); err != nil {
			return err
		}
		return release.Apply(ctx, c, quietClass)
	},
	uninstall: release.Default.Uninstall,
}

// pid returns the process of the only pod, on this machine.
func (w *world) pid(ctx context.Context, p pods) (int, error) {
	list, err := w.Resource(podResource).Namespace(p.namespace).List(ctx, metav1.ListOptions{
		LabelSelector: p.selector, FieldSelector: "status.phase=Running",
	})
	if err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	for i := range list.Items {
		for _, id := range containers(&list.Items[i]) {
			if pid, err := processOf(id, p.process); err == nil {
				return pid, nil
			}
		}
	}
	return 0, fmt.Errorf("no pod in %s with %s has a process %s", p.namespace, p.selector, p.process)
}

// containers are the ids of a pod's containers.
func containers(pod *unstructured.Unstructured) []string {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	var out []string
	for _, s := range statuses {
		s, _ := s.(map[string]any)
		id, _ := s["containerID"].(string)
		if _, id, ok := strings.Cut(id, "://"); ok {
			out = append(out, id)
		}
	}
	return out
}

// processOf finds the process of a container by its control group, whose path has the container's id.
func processOf(container, program string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		groups, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil || !strings.Contains(string(groups), container) {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err == nil && filepath.Base(exe) == program {
			return pid, nil
		}
	}
	return 0, errors.New("the container has no such process")
}

// cpuOf returns the CPU time that the control plane needs while f runs.
func (w *world) cpuOf(ctx context.Context, f func() error) (time.Duration, error) {
	pid, err := w.pid(ctx, w.system.control)
	if err != nil {
		return 0, err
	}
	before, err := usage.CPU(pid)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := usage.CPU(pid)
	if err != nil {
		return 0, fmt.Errorf("the control plane has ended meanwhile: %w", err)
	}
	return after - before, nil
}
