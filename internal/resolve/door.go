package resolve

import (
	"time"

	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// door is what a route needs to know of a listener to attach to it. It leaves out everything else, so that a new
// certificate reaches no route.
type door struct {
	Key      model.ListenerKey
	Port     model.PortKey
	Protocol model.Protocol
	Hostname string
	// Kinds are the kinds of routes that are let in.
	Kinds []string
	// From says from which namespaces routes are let in; Namespaces selects them if it is Selector.
	From       gwv1.FromNamespaces
	Namespaces labels.Selector
	// Client is what the Gateway shows to backends.
	Client model.ClientCertificate
	// Gear is what the proxies of the Gateway have and do.
	Gear model.Gear
	// Passthrough as in [model.Listener].
	Passthrough bool
	// Valid as in [model.Listener].
	Valid bool
	// Foreign is set for the listener of a ListenerSet that its Gateway does not let in.
	Foreign bool
}

// section is what a parentRef needs to choose listeners.
type section struct {
	Name string
	Port uint16
}

// written are the listeners of one object, and what decides their precedence.
type written struct {
	Created   time.Time
	Listeners []model.Listener
	doors     []*door
}

// written returns the listeners of a Gateway or ListenerSet.
func (t *Tables) written(r *incr.Reader, source model.Ref) (written, bool) {
	if source.Kind == model.KindListenerSet {
		set, ok := incr.Get(r, t.ListenerSets, source.Name)
		return written{Created: set.Created, Listeners: set.Listeners, doors: set.doors}, ok
	}
	gw, ok := incr.Get(r, t.Gateways, source.Name)
	return written{Created: gw.Created, Listeners: gw.Listeners, doors: gw.doors}, ok
}

// index returns the place of a listener in its object.
func (w written) index(key model.ListenerKey) (int, bool) {
	for i := range w.Listeners {
		if w.Listeners[i].Key == key {
			return i, true
		}
	}
	return 0, false
}

func keysOf(listeners []model.Listener) []model.ListenerKey {
	out := make([]model.ListenerKey, 0, len(listeners))
	for i := range listeners {
		out = append(out, listeners[i].Key)
	}
	return out
}

// addDoors adds the narrow views of listeners.
func (t *Tables) addDoors(e *incr.Engine) {
	t.listenerKeys = []incr.KeySource[model.ListenerKey]{
		incr.NewIndex(e, "gateway listeners", t.Gateways, func(_ model.Name, gw Gateway) []model.ListenerKey {
			return keysOf(gw.Listeners)
		}),
		incr.NewIndex(e, "listenerset listeners", t.ListenerSets, func(_ model.Name, set ListenerSet) []model.ListenerKey {
			return keysOf(set.Listeners)
		}),
	}
	gateways := incr.NewIndex(e, "gateway refs", t.Gateways, func(name model.Name, _ Gateway) []model.Ref {
		return []model.Ref{gatewayRef(name)}
	})
	sets := incr.NewIndex(e, "listenerset refs", t.ListenerSets, func(name model.Name, _ ListenerSet) []model.Ref {
		return []model.Ref{setRef(name)}
	})
	t.sourceKeys = []incr.KeySource[model.Ref]{gateways, sets}
	t.doors = incr.NewTable(e, "doors", func(r *incr.Reader, key model.ListenerKey) (*door, bool) {
		w, _ := t.written(r, key.Source)
		i, ok := w.index(key)
		if !ok {
			return nil, false
		}
		return w.doors[i], true
	}, t.listenerKeys...)
	t.sections = incr.NewTable(e, "sections", func(r *incr.Reader, source model.Ref) ([]section, bool) {
		w, ok := t.written(r, source)
		var out []section
		for i := range w.Listeners {
			out = append(out, section{Name: w.Listeners[i].Key.Name, Port: w.Listeners[i].Port})
		}
		return out, ok
	}, t.sourceKeys...)
}

// Hostname returns the hostname of a listener, and whether there is such a listener.
func (t *Tables) Hostname(r *incr.Reader, listener model.ListenerKey) (string, bool) {
	d, ok := incr.Get(r, t.doors, listener)
	if !ok {
		return "", false
	}
	return d.Hostname, true
}

func gatewayRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: name}
}

func setRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindListenerSet, Name: name}
}

// Client returns the certificate that the Gateway of a listener shows to backends.
func (t *Tables) Client(r *incr.Reader, listener model.ListenerKey) model.ClientCertificate {
	d, ok := incr.Get(r, t.doors, listener)
	if !ok {
		return model.ClientCertificate{}
	}
	return d.Client
}
