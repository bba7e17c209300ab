package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// clients makes a client for each group and version, on one connection.
type clients struct {
	config *rest.Config
	codecs runtime.NegotiatedSerializer
	byGV   map[schema.GroupVersion]rest.Interface
	teller teller
}

func newClients(config *rest.Config, extensions resource.Extensions, log *slog.Logger) (*clients, error) {
	scheme, err := resource.NewScheme(extensions...)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	if config.QPS == 0 {
		// The API server limits what it takes; a limit here would only delay what it would take.
		config.QPS = -1
	}
	return &clients{
		config: config, codecs: serializer.NewCodecFactory(scheme).WithoutConversion(),
		byGV: map[schema.GroupVersion]rest.Interface{}, teller: teller{log: log, told: &sync.Map{}},
	}, nil
}

// of returns the client of a group and version.
func (c *clients) of(gv schema.GroupVersion, protobuf bool) (rest.Interface, error) {
	if client, ok := c.byGV[gv]; ok {
		return client, nil
	}
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.NegotiatedSerializer, config.APIPath = &gv, c.codecs, "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	if resource.HasOlderShapes(gv.Group) {
		config.NegotiatedSerializer = reshaping{c.codecs, gv.Group, c.teller}
	}
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	if protobuf {
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", gv, err)
	}
	c.byGV[gv] = client
	return client, nil
}

// listWatch lists and watches the objects of a kind, in one namespace or in all of them.
type listWatch struct {
	client    rest.Interface
	kind      *resource.Kind
	plural    string
	namespace string
	store     *store
}

func (l *listWatch) request(options *metav1.ListOptions) *rest.Request {
	options.FieldSelector = fieldSelector(l.kind)
	return l.client.Get().NamespaceIfScoped(l.namespace, l.namespace != "").Resource(l.plural).
		SpecificallyVersionedParams(options, metav1.ParameterCodec, schema.GroupVersion{Version: "v1"})
}

// ListWithContext implements [cache.ListerWatcherWithContext].
func (l *listWatch) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	l.store.attempting()
	out, err := l.request(&options).Do(ctx).Get()
	l.store.attempted(false, err)
	return out, err //nolint:wrapcheck // the reflector looks at what kind of error it is
}

// WatchWithContext implements [cache.ListerWatcherWithContext].
func (l *listWatch) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	request := l.request(&options)
	if options.TimeoutSeconds != nil {
		request = request.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	l.store.attempting()
	out, err := request.Watch(ctx)
	// A watch that begins with all objects is a list, which is known when it is complete.
	listing := options.SendInitialEvents != nil && *options.SendInitialEvents
	l.store.attempted(err == nil && !listing, err)
	return out, err //nolint:wrapcheck // the reflector looks at what kind of error it is
}

// List implements [cache.ListerWatcher].
func (l *listWatch) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

// Watch implements [cache.ListerWatcher].
func (l *listWatch) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}
