package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// A listener that Envoy refuses is refused whoever asks for it: when the Gateway goes that had it, the one that gets
// it has the refusal in its status.
func TestRefusedListenerOfAnotherGateway(t *testing.T) {
	statuses := map[string]any{}
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(model.ProxyName, []xds.Change) uint64 { return 1 }
		o.Publish = func(s pipeline.Status) { statuses[s.Ref.Name.Name] = s.Status }
	})
	objects := base()
	second := source.Object{Ref: refOf(model.GroupGateway, model.KindGateway, "second")}
	gateway := objects[1].Object.(*gwv1.Gateway).DeepCopy()
	gateway.Name = "second"
	second.Object = gateway
	p.Apply(append(objects, second), nil, nil)
	p.Observe(xds.Event{
		Kind: xds.Rejected, Proxy: proxy, Type: xds.Listener, Resource: "tcp/8080", Message: "no such thing",
		Hash: p.Resources(proxy)[xds.Listener][0].Hash, Owners: []model.Ref{objects[1].Ref},
	})
	refused := func(name string) bool {
		return strings.Contains(fmt.Sprintf("%+v", statuses[name]), "Envoy refused the listener: no such thing")
	}
	if !refused("gw") || refused("second") {
		t.Fatalf("the Gateway that has the listener is not the one that is blamed: %+v", statuses)
	}
	p.Apply(nil, []model.Ref{objects[1].Ref}, nil)
	p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: 1})
	if !refused("second") {
		t.Errorf("the Gateway that has the listener now is not told: %+v", statuses["second"])
	}
}
