package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// fieldManager owns the fields that are applied.
const fieldManager = "sluice"

// change brings one fleet to what it should be.
type change struct {
	m     *Manager
	ctx   context.Context //nolint:containedctx // it lives for one call
	name  model.ProxyName
	fleet *resolve.Fleet
	state *state
	// term and authority are those of the manager.
	term, authority int
	live            []*unstructured.Unstructured
	// problem is what the user has to mend.
	problem string
}

func (c *change) reconcile() error {
	switch {
	case c.fleet == nil:
		return c.removeAll(c.live)
	case c.fleet.Hold != "", c.fleet == c.state.doomed:
		return nil
	case c.state.invalid != nil:
		c.problem = c.state.invalid.Error()
		return nil
	}
	want := c.state.rendered
	secret, err := c.secret()
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	if secret != nil {
		want = append(want[:len(want):len(want)], secret)
	} else {
		kept["Secret/"+identityName(c.fleet.Name)] = true
	}
	for _, o := range want {
		kept[id(o)] = true
		if err := c.ensure(o); err != nil {
			return err
		}
	}
	return c.removeAll(c.orphans(kept))
}

func id(o *unstructured.Unstructured) string { return o.GetKind() + "/" + o.GetName() }

// orphans are the objects that the fleet no longer has. A Deployment stays until the DaemonSet in its place has a pod
// that is ready, and the other way round.
func (c *change) orphans(kept map[string]bool) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range c.live {
		if kept[id(o)] {
			continue
		}
		if isWorkload(o) && !c.replaced(kept) {
			continue
		}
		out = append(out, o)
	}
	return out
}

// replaced says whether the workload that is wanted has a ready pod.
func (c *change) replaced(kept map[string]bool) bool {
	for _, o := range c.live {
		if isWorkload(o) && kept[id(o)] && readyPods(o) > 0 {
			return true
		}
	}
	return false
}

func (c *change) client(kind, namespace string) dynamic.ResourceInterface {
	return c.m.opts.Client.Resource(resourceOf(kind)).Namespace(namespace)
}

// find returns an object of the cluster, ours or not; nil if there is none.
func (c *change) find(want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for _, o := range c.live {
		if id(o) == id(want) {
			return o, nil
		}
	}
	o, err := c.client(want.GetKind(), want.GetNamespace()).Get(c.ctx, want.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // no object is an answer
	}
	return o, err
}

// ensure makes an object as it is wanted. One of the same name that is not the fleet's is left alone.
func (c *change) ensure(want *unstructured.Unstructured) error {
	live, err := c.find(want)
	if err != nil {
		return fmt.Errorf("look for %s %s/%s: %w", want.GetKind(), want.GetNamespace(), want.GetName(), err)
	}
	key := id(want) + "/" + want.GetAnnotations()[annotationHash]
	switch {
	case live == nil:
	case !c.owns(live):
		c.problem = fmt.Sprintf("There is a %s %s/%s already, which is not of this Gateway: rename or remove it",
			want.GetKind(), want.GetNamespace(), want.GetName())
		return nil
	case version(live) < c.state.versions[id(want)]:
		// The watch is still to bring what was applied last, and has the fleet looked at again then.
		return nil
	case inSync(want, live) || c.state.applied[key] == fingerprint(live):
		return nil
	}
	return c.apply(want, live, key)
}

// owns says whether an object of the cluster is the fleet's: it has its mark, or its owner. By the owner the fleet of
// an installation that is gone is taken over as it stands, with its Envoys, when another one serves the class.
func (c *change) owns(live *unstructured.Unstructured) bool {
	if c.m.proxyOf(live) == c.name {
		return true
	}
	owner := c.fleet.Owner
	return slices.ContainsFunc(live.GetOwnerReferences(), func(o metav1.OwnerReference) bool {
		return owner.UID != "" && o.UID == owner.UID && o.Kind == owner.Kind
	})
}

func (c *change) apply(want, live *unstructured.Unstructured, key string) error {
	data, err := json.Marshal(want.Object)
	if err != nil {
		return fmt.Errorf("marshal %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	force := true
	out, err := c.client(want.GetKind(), want.GetNamespace()).Patch(c.ctx, want.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if err == nil {
		out.SetManagedFields(nil)
		prefix := id(want) + "/"
		for k := range c.state.applied {
			if strings.HasPrefix(k, prefix) {
				delete(c.state.applied, k)
			}
		}
		c.state.applied[key], c.state.versions[id(want)] = fingerprint(out), version(out)
		return nil
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		// Nothing can be made there any more, and the Gateway is about to go as well.
		c.state.doomed = c.fleet
		return nil
	}
	if apierrors.IsInvalid(err) && live != nil && immutable(err) {
		// Nothing but another object can have it otherwise.
		return errors.Join(c.remove(live), c.again(want, live))
	}
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		c.problem = fmt.Sprintf("The API server refuses the %s %s/%s: %v", want.GetKind(), want.GetNamespace(),
			want.GetName(), err)
	}
	return fmt.Errorf("apply %s %s/%s: %w", want.GetKind(), want.GetNamespace(), want.GetName(), err)
}

func immutable(err error) bool {
	text := err.Error()
	return strings.Contains(text, "immutable") || strings.Contains(text, "may not change once set")
}

// again has the fleet looked at once more, when the object that is in the way has gone.
func (c *change) again(want, gone *unstructured.Unstructured) error {
	return fmt.Errorf("the %s %s/%s (%s) is made anew: what changed in it cannot be changed in place", want.GetKind(),
		want.GetNamespace(), want.GetName(), gone.GetUID())
}

func (c *change) removeAll(list []*unstructured.Unstructured) error {
	var errs []error
	for _, o := range list {
		errs = append(errs, c.remove(o))
	}
	return errors.Join(errs...)
}

// remove deletes an object, as long as it is as it was seen: in the meantime another installation may have taken it
// over. If it is not, the watch is still to bring that, and has the fleet looked at again then.
func (c *change) remove(o *unstructured.Unstructured) error {
	if o.GetDeletionTimestamp() != nil {
		return nil
	}
	uid, version, policy := o.GetUID(), o.GetResourceVersion(), metav1.DeletePropagationBackground
	err := c.client(o.GetKind(), o.GetNamespace()).Delete(c.ctx, o.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &policy,
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

func isWorkload(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Deployment" || o.GetKind() == "DaemonSet"
}

// readyPods is how many pods of a workload are ready.
func readyPods(o *unstructured.Unstructured) int64 {
	field := "readyReplicas"
	if o.GetKind() == "DaemonSet" {
		field = "numberReady"
	}
	n, _, err := unstructured.NestedInt64(o.Object, "status", field)
	if err != nil {
		return 0
	}
	return n
}

// version is the resourceVersion as the number that it is; 0 if it is none.
func version(o *unstructured.Unstructured) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
