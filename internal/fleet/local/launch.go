package local

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/disk"
	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Launch is how an Envoy is to be started. It is what a control plane leaves in the directory for whoever holds Envoy,
// which may be of another version: fields are added to it, and none ever changes its meaning.
type Launch struct {
	// Bootstrap is Envoy's configuration: see [Config].
	Bootstrap json.RawMessage `json:"bootstrap"`
	// Concurrency is the number of worker threads.
	Concurrency int `json:"concurrency"`
	// Level, ComponentLevels and Arguments are for the command line: see [Config].
	Level           string   `json:"level,omitempty"`
	ComponentLevels string   `json:"componentLevels,omitempty"`
	Arguments       []string `json:"arguments,omitempty"`
	// Drain is how it goes.
	Drain fleet.Drain `json:"drain"`
}

// Launched is what became of a launch.
type Launched struct {
	// Digest tells the launch apart from others, as PutLaunch returned it.
	Digest string `json:"digest"`
	// Problem is why no Envoy could be started like that; empty if one runs.
	Problem string `json:"problem,omitempty"`
}

// Base is what holds for an Envoy of this machine unless EnvoyProxies say otherwise.
type Base struct {
	// Dir has the sockets.
	Dir *RuntimeDir
	// Node and Cluster are how the control plane knows it, Zone is where it is: see [fleet.Config].
	Node, Cluster, Zone string
	// Concurrency is the number of worker threads, Drain how it goes.
	Concurrency int
	Drain       fleet.Drain
	// MetricsPort is where metrics are served if an EnvoyProxy asks for it; 0 is fleet.MetricsPort.
	MetricsPort uint16
}

// metricsBind is where metrics are served to those who ask for that: other machines have to be let in by a route.
var metricsBind = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// NewLaunch returns how an Envoy is started as EnvoyProxies want it. wanted may be nil. The error names the field that
// cannot be done.
func NewLaunch(b Base, wanted *resolve.Launch) (*Launch, error) {
	if wanted == nil {
		wanted = &resolve.Launch{}
	}
	spec := wanted.Spec
	if spec == nil {
		spec = &egv1a1.EnvoyProxySpec{}
	}
	config := fleet.Config{
		Node: b.Node, Cluster: b.Cluster, XDSSocket: b.Dir.XDSSocket(), AdminSocket: b.Dir.AdminSocket(),
		RateLimitSocket: b.Dir.RateLimitSocket(), Zone: b.Zone,
	}
	var err error
	if config.Metrics, err = fleet.MetricsOf(spec, reachable(wanted.Sinks), ""); err != nil {
		return nil, err
	}
	if t := spec.Telemetry; t != nil && t.Metrics != nil && t.Metrics.Prometheus != nil {
		config.MetricsAddress = netip.AddrPortFrom(metricsBind, cmp.Or(b.MetricsPort, fleet.MetricsPort))
	}
	base, err := fleet.Bootstrap(config)
	if err != nil {
		return nil, err
	}
	out := &Launch{Concurrency: b.Concurrency, Arguments: spec.ExtraArgs}
	if out.Bootstrap, err = fleet.Patch(base, spec.Bootstrap); err != nil {
		return nil, err
	}
	if out.Drain, err = fleet.DrainOf(spec, b.Drain); err != nil {
		return nil, err
	}
	if spec.Concurrency != nil {
		out.Concurrency = int(*spec.Concurrency)
	}
	out.Level = string(spec.Logging.Level[egv1a1.LogComponentDefault])
	out.ComponentLevels = spec.Logging.GetEnvoyProxyComponentLevel()
	return out, nil
}

// reachable are the sinks without those that have no endpoints yet: Envoy is started anew when they do.
func reachable(sinks []resolve.FleetSink) []resolve.FleetSink {
	out := make([]resolve.FleetSink, len(sinks))
	for i, s := range sinks {
		if len(s.Endpoints) > 0 {
			out[i] = s
		}
	}
	return out
}

// Check returns why no Envoy of this machine can be started as an EnvoyProxy says; nil if one can.
func Check(spec *egv1a1.EnvoyProxySpec) error {
	_, err := NewLaunch(Base{
		Dir: &RuntimeDir{path: "/"}, Node: "local", Cluster: "local", Concurrency: 1,
		Drain: fleet.Drain{Timeout: DefaultDrainTimeout},
	}, &resolve.Launch{Spec: spec, Sinks: placeholders(spec)})
	return err
}

// placeholders are sinks, for a check of all but their backends.
func placeholders(spec *egv1a1.EnvoyProxySpec) []resolve.FleetSink {
	if spec.Telemetry == nil || spec.Telemetry.Metrics == nil {
		return nil
	}
	out := make([]resolve.FleetSink, len(spec.Telemetry.Metrics.Sinks))
	for i := range out {
		out[i] = resolve.FleetSink{
			Backend:   model.BackendKey{Kind: model.KindServer, Name: model.Name{Name: "sink"}, Port: 1},
			Endpoints: []model.Endpoint{{Address: "192.0.2.1", Port: 1}},
		}
	}
	return out
}

// The files by which a control plane and whoever holds Envoy speak of launches.
const (
	launchFile   = "launch.json"
	launchedFile = "launched.json"
)

// PutLaunch leaves a launch in the directory, and returns its digest.
func (d *RuntimeDir) PutLaunch(l *Launch) (digest string, err error) {
	raw, err := d.put(launchFile, l)
	return digestOf(raw), err
}

// Launch returns the launch that was left last, and its digest; nil if there is none.
func (d *RuntimeDir) Launch() (l *Launch, digest string, err error) {
	l = &Launch{}
	raw, err := d.get(launchFile, l)
	if raw == nil || err != nil {
		return nil, "", err
	}
	return l, digestOf(raw), nil
}

// PutLaunched leaves in the directory what became of a launch.
func (d *RuntimeDir) PutLaunched(l Launched) error {
	_, err := d.put(launchedFile, l)
	return err
}

// Launched returns what became of the launch that was tried last; false if none was.
func (d *RuntimeDir) Launched() (Launched, bool) {
	var l Launched
	raw, err := d.get(launchedFile, &l)
	return l, raw != nil && err == nil
}

// put writes a file at once.
func (d *RuntimeDir) put(name string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, disk.Replace(filepath.Join(d.path, name), raw)
}

// get reads a file; it returns nil if there is none.
func (d *RuntimeDir) get(name string, into any) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

func digestOf(raw []byte) string { return fmt.Sprintf("%016x", xxhash.Sum64(raw)) }
