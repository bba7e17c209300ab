package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// client writes and reads objects of the namespace, as fast as the API server takes it.
type client struct{ dynamic.Interface }

func newClient(config *rest.Config) (*client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the client's own limit would be measured
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return &client{d}, nil
}

func (c *client) in(resource schema.GroupVersionResource) dynamic.ResourceInterface {
	if resource == namespaceResource {
		return c.Resource(resource)
	}
	return c.Resource(resource).Namespace(namespace)
}

// apply makes an object or changes it to what is given.
func (c *client) apply(ctx context.Context, o object) error {
	data, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	force := true
	_, err = c.in(o.resource).Patch(ctx, o.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{
			FieldManager: "sluice-bench", Force: &force, FieldValidation: metav1.FieldValidationStrict,
		})
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

func (c *client) get(
	ctx context.Context, resource schema.GroupVersionResource, name string,
) (*unstructured.Unstructured, error) {
	return c.in(resource).Get(ctx, name, metav1.GetOptions{})
}

// remove deletes an object, if it is there.
func (c *client) remove(ctx context.Context, resource schema.GroupVersionResource, name string) error {
	if err := c.in(resource).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s %s: %w", resource.Resource, name, err)
	}
	return nil
}

// deleteNamespace deletes a namespace with all that is in it, and waits until it is gone.
func (c *client) deleteNamespace(ctx context.Context, name string) error {
	err := c.Resource(namespaceResource).Delete(ctx, name, metav1.DeleteOptions{})
	for deadline := time.Now().Add(patience); ; {
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete namespace %s: %w", name, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("namespace %s is still there after %v", name, patience)
		}
		time.Sleep(200 * time.Millisecond)
		_, err = c.Resource(namespaceResource).Get(ctx, name, metav1.GetOptions{})
	}
}
