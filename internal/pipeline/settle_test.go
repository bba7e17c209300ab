package pipeline_test

import (
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// newcomer is a replica that has just started, in a cluster where Envoys may be serving what it has read.
func newcomer() *replica {
	r := newReplica("newcomer", func(o *pipeline.Options) { o.Settling = true })
	r.Apply(base(), nil, nil)
	return r
}

// What a process that starts does not know, because no Envoy had the time to connect, it does not deny.
func TestSettling(t *testing.T) {
	t.Run("an Envoy connects in time", func(t *testing.T) {
		r := newcomer()
		r.want(t, "at the start", "Unknown")
		if r.Warming() {
			t.Error("an Envoy is warming before any is connected")
		}
		r.connect()
		r.want(t, "while the Envoy takes what it lacks", "Unknown")
		if !r.Warming() {
			t.Error("an Envoy that has nothing yet is not warming")
		}
		r.ack()
		r.want(t, "when it has everything", "True")
		r.Apply([]source.Object{backend("later")}, nil, nil)
		if r.Warming() {
			t.Error("an Envoy that has had everything once is warming")
		}
		r.Settled()
		r.want(t, "after all could have connected", "True")
	})
	t.Run("no Envoy comes", func(t *testing.T) {
		r := newcomer()
		r.Settled()
		r.want(t, "after all could have connected", "False Waiting for Envoy")
	})
	t.Run("the listener changes meanwhile", func(t *testing.T) {
		r := newcomer()
		changed := base()
		gateway := changed[1].Object.(*gwv1.Gateway)
		gateway.Spec.Listeners[0].Hostname = ptr[gwv1.Hostname]("other.example")
		r.Apply(changed, nil, nil)
		r.want(t, "what no Envoy can have", "False Waiting for Envoy")
	})
	t.Run("Envoy refuses it", func(t *testing.T) {
		r := newcomer()
		r.connect()
		r.nack(t, xds.Listener, "")
		r.want(t, "when Envoy has spoken", "False Envoy refused")
	})
}
