package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gateway/sluice/test/apiserver"
	"github.com/sluice-gateway/sluice/test/echo"
)

const (
	// patience is how long anything may take.
	patience = 10 * time.Minute
	// writers is how many objects are made at once.
	writers = 8
	// className is the class of all Gateways: theirs log no requests, as README.md says.
	className = "sluice"
	// backendPort is that of the one process behind all addresses of backends.
	backendPort = 18080
	// calmServer keeps the API server from comparing all that it caches with etcd every five minutes, which takes a core
	// for half a minute with 150,000 objects.
	calmServer = "--feature-gates=DetectCacheInconsistency=false"
)

// world is an API server with a control plane, Envoys and backends.
type world struct {
	options
	dir      string
	server   *apiserver.Server
	client   dynamic.Interface
	backends net.Listener
	plane    *plane
}

// newWorld starts an API server that knows the kinds, with the class and all namespaces.
func newWorld(ctx context.Context, o options) (*world, error) {
	dir, err := os.MkdirTemp("", "sluice-scale-")
	if err != nil {
		return nil, err
	}
	w := &world{options: o, dir: dir}
	if err := w.prepare(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *world) prepare(ctx context.Context) (err error) {
	if w.backends, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", backendPort)); err != nil {
		return err
	}
	go func() { _ = echo.ServeFixed(w.backends) }()
	if w.server, err = apiserver.Run(ctx, w.dir, calmServer); err != nil {
		return err
	}
	if w.client, err = dynamic.NewForConfig(w.server.Config(apiserver.Admin)); err != nil {
		return err
	}
	if err := w.installCRDs(ctx); err != nil {
		return err
	}
	return w.create(ctx, func(yield func(object) bool) {
		for _, name := range []string{"sluice-system", gatewayNamespace} {
			if !yield(newObject(namespaceResource, "Namespace", "", name, nil)) {
				return
			}
		}
		for i := range namespaces {
			if !yield(newObject(namespaceResource, "Namespace", "", namespaceOf(i), nil)) {
				return
			}
		}
		yield(newObject(classResource, "GatewayClass", "", className, fields{"spec": fields{
			"controllerName": "sluice.dev/gateway-controller",
		}}))
	})
}

// installCRDs installs what `sluice install` prints, and waits until it is served.
func (w *world) installCRDs(ctx context.Context) error {
	manifests, err := exec.CommandContext(ctx, w.sluice, "install", "--crds-only").Output()
	if err != nil {
		return fmt.Errorf("sluice install: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("sluice install: %w", err)
		}
		if u.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if _, err := w.client.Resource(crdResource).Create(ctx, &u, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create %s: %w", u.GetName(), err)
		}
	}
	return until(ctx, "the CRDs are served", func() bool {
		for _, resource := range []string{"gatewayclasses", "httproutes", "listenersets"} {
			if _, err := w.client.Resource(gatewayAPI(resource)).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
				return false
			}
		}
		return true
	})
}

// create makes objects, several at once.
func (w *world) create(ctx context.Context, objects iter.Seq[object]) error {
	next := make(chan object)
	failed := make(chan error, writers)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for o := range next {
				_, err := w.in(o).Create(ctx, &o.Unstructured, metav1.CreateOptions{FieldManager: "bench"})
				if err != nil {
					failed <- fmt.Errorf("create %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
					return
				}
			}
		})
	}
	err := func() error {
		defer close(next)
		for o := range objects {
			select {
			case next <- o:
			case err := <-failed:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}()
	wg.Wait()
	select {
	case failure := <-failed:
		return failure
	default:
		return err
	}
}

func (w *world) in(o object) dynamic.ResourceInterface {
	if o.GetNamespace() == "" {
		return w.client.Resource(o.resource)
	}
	return w.client.Resource(o.resource).Namespace(o.GetNamespace())
}

// replace writes an object whose spec has changed, whatever its version.
func (w *world) replace(ctx context.Context, o object) error {
	content, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = w.in(o).Patch(ctx, o.GetName(), "application/merge-patch+json", content,
		metav1.PatchOptions{FieldManager: "bench"})
	if err != nil {
		return fmt.Errorf("change %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

func (w *world) close() {
	if w.plane != nil {
		w.plane.Stop()
	}
	if w.server != nil {
		w.server.Stop()
	}
	if w.backends != nil {
		_ = w.backends.Close()
	}
	_ = os.RemoveAll(w.dir)
}

// log is a file for what a process prints.
func (w *world) log(name string) string { return filepath.Join(w.dir, name+".log") }

// until waits until something is so.
func until(ctx context.Context, what string, is func() bool) error {
	return within(ctx, patience, what, is)
}

func within(ctx context.Context, limit time.Duration, what string, is func() bool) error {
	for end := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("not after %v: %s", limit, what)
		}
	}
	return nil
}
