package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// client reads and writes statuses as JSON, so that it needs to know no kinds.
type client struct {
	rest rest.Interface
	path func(model.Ref) (string, bool)
}

func newClient(config *rest.Config, path func(model.Ref) (string, bool)) (*client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeJSON
	// The API server limits what it takes.
	config.QPS = -1
	c, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for statuses: %w", err)
	}
	return &client{c, path}, nil
}

// envelope is what is read of an object.
type envelope struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Status json.RawMessage `json:"status"`
}

func (e envelope) decode(into any) error {
	if len(e.Status) == 0 {
		return nil
	}
	if err := json.Unmarshal(e.Status, into); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

func (c *client) get(ctx context.Context, path string) (envelope, error) {
	return read(c.rest.Get().AbsPath(path).Do(ctx))
}

// patch sets the fields of a status of an object that has not changed since it was read.
func (c *client) patch(ctx context.Context, path, version string, status any) (envelope, error) {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": version}, "status": status,
	})
	if err != nil {
		return envelope{}, fmt.Errorf("status: %w", err)
	}
	return read(c.rest.Patch(types.MergePatchType).AbsPath(path, "status").Body(body).Do(ctx))
}

func read(result rest.Result) (envelope, error) {
	data, err := result.Raw()
	if err != nil {
		if full := result.Error(); full != nil { // Raw's own error does not hold what the API server says
			err = full
		}
		return envelope{}, err //nolint:wrapcheck // the caller looks at what kind of error it is, and names the object
	}
	var out envelope
	if err := json.Unmarshal(data, &out); err != nil {
		return envelope{}, fmt.Errorf("answer of the API server: %w", err)
	}
	return out, nil
}

// conflicts is how often a write is tried at once when someone else wrote in between.
const conflicts = 5

// write makes our part of an object's status what it should be.
func (w *Writer) write(ctx context.Context, ref model.Ref) error {
	path, ok := w.client.path(ref)
	if !ok {
		return nil
	}
	for attempt := 1; ; attempt++ {
		err := w.try(ctx, ref, path, attempt > 1)
		switch {
		case apierrors.IsNotFound(err):
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.objects, ref)
			return nil
		case apierrors.IsConflict(err) && attempt < conflicts:
			continue
		}
		return err
	}
}

// try writes an object's status once. It reads the object before, unless nobody had written a status yet when it was
// last seen; that has changed if the API server then reports a conflict, and the caller has it read.
func (w *Writer) try(ctx context.Context, ref model.Ref, path string, read bool) error {
	w.mu.Lock()
	o := w.objects[ref]
	if o == nil || o.done() {
		w.mu.Unlock()
		return nil
	}
	want, digest := o.want, o.digest
	read = read || !o.seen || !o.empty || o.version == 0
	var now envelope
	now.Metadata.ResourceVersion = strconv.FormatUint(o.version, 10)
	w.mu.Unlock()

	typ := statusType(ref, want)
	if typ == nil {
		return nil
	}
	if read {
		var err error
		if now, err = w.client.get(ctx, path); err != nil {
			return err
		}
	}
	have := reflect.New(typ)
	if err := now.decode(have.Interface()); err != nil {
		return err
	}
	wanted := reflect.Value{}
	if want != nil {
		wanted, _ = structOf(want)
	}
	merged := w.owner.merge(have.Elem(), wanted)
	wrote := !reflect.DeepEqual(merged.Interface(), have.Elem().Interface())
	if wrote {
		fields, err := changes(have.Elem(), merged)
		if err != nil {
			return err
		}
		if now, err = w.client.patch(ctx, path, now.Metadata.ResourceVersion, fields); err != nil {
			return err
		}
		w.metrics.writes.WithLabelValues(resultOK).Inc()
		have = reflect.New(typ)
		if err := now.decode(have.Interface()); err != nil {
			return err
		}
	}
	return w.wrote(ref, wrote, digest, now.Metadata.ResourceVersion, have.Elem())
}

// wrote notes how the status is now that our part of it is what the digest stands for.
func (w *Writer) wrote(ref model.Ref, wrote bool, digest uint64, version string, have reflect.Value) error {
	is, err := w.owner.digest(have)
	if err != nil {
		return err
	}
	w.mu.Lock()
	if o := w.objects[ref]; o != nil {
		o.agreed, o.agreedOn = is, digest
		if wrote {
			o.written = time.Now()
		}
	}
	w.mu.Unlock()
	w.saw(ref, sighting{digest: is, claims: w.owner.claims(have), version: number(version)})
	return nil
}

// changes returns the fields of a status as a merge patch: those that are not there any more are null.
func changes(have, merged reflect.Value) (map[string]any, error) {
	before, err := fields(have)
	if err != nil {
		return nil, err
	}
	out, err := fields(merged)
	if err != nil {
		return nil, err
	}
	for name := range before {
		if _, ok := out[name]; !ok {
			out[name] = nil
		}
	}
	return out, nil
}

func fields(v reflect.Value) (map[string]any, error) {
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return out, nil
}

// statusType is the type of the status: that of the one to write or, if only our entries are to go, the one that has
// the lists with such entries.
func statusType(ref model.Ref, want any) reflect.Type {
	if want != nil {
		v, ok := structOf(want)
		if !ok {
			return nil
		}
		return v.Type()
	}
	if ref.Group == model.GroupGateway && len(ref.Kind) > 5 && ref.Kind[len(ref.Kind)-5:] == "Route" {
		return reflect.TypeFor[gwv1.RouteStatus]()
	}
	return reflect.TypeFor[gwv1.PolicyStatus]()
}
