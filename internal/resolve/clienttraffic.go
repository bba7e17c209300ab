package resolve

import (
	"reflect"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// clientFields returns what the ClientTrafficPolicy that holds for a listener asks for, nothing if there is none.
func (t *Tables) clientFields(r *incr.Reader, listener model.ListenerKey) *policyFields {
	name, _, ok := t.holdingPolicy(r, listener, model.KindClientTrafficPolicy)
	if !ok {
		return &policyFields{}
	}
	return t.fieldsOf(r, mergedKey{Kind: model.KindClientTrafficPolicy, Own: name})
}

// ofConnections are the fields of a ClientTrafficPolicy that mean something to listeners that do not speak HTTP.
var ofConnections = []string{"tcpKeepalive", "proxyProtocol", "enableProxyProtocol", "timeout", "connection", "tls"}

// concerns says whether a field of a ClientTrafficPolicy means something to a listener: what it says of TLS does where
// that ends, what it says of HTTP where that is spoken.
func concerns(feature string, l *model.Listener) bool {
	_, field, _ := strings.Cut(feature, ".")
	switch l.Protocol {
	case model.HTTP:
		return field != "tls" && field != "http3"
	case model.HTTPS:
		return true
	case model.TLS:
		return slices.Contains(ofConnections, field) && (field != "tls" || !l.Passthrough)
	case model.TCP:
		return slices.Contains(ofConnections, field) && field != "tls"
	}
	return false
}

// accord is what became of the ClientTrafficPolicies of the listeners that share a port. Some of what these ask for
// they have to ask for together: settings of the port itself and, for plain HTTP, of the one connection manager.
type accord struct {
	// Whole is what all of them ask of the port.
	Whole []model.Attached
	// Disputed are the features of which they ask for different things, sorted.
	Disputed []string
}

// addAccords adds the accords of the ports with a listener that has a ClientTrafficPolicy.
func (t *Tables) addAccords(e *incr.Engine) {
	t.accords = incr.NewTable(e, "port accords", func(r *incr.Reader, key model.PortKey) (*accord, bool) {
		port, ok := incr.Get(r, t.Ports, key)
		if !ok || key.Transport == model.OverUDP {
			return nil, false
		}
		out := &accord{}
		first := t.asks(r, port, &port.Listeners[0])
		found := len(first) > 0
		for i := range port.Listeners[1:] {
			other := t.asks(r, port, &port.Listeners[i+1])
			found = found || len(other) > 0
			out.Disputed = append(out.Disputed, differences(first, other)...)
		}
		slices.Sort(out.Disputed)
		out.Disputed = slices.Compact(out.Disputed)
		for _, a := range t.clientFields(r, port.Listeners[0].Key).Attached {
			if _, ok := first[a.Feature]; ok && t.ofPort(a) != "" && !slices.Contains(out.Disputed, a.Feature) {
				out.Whole = append(out.Whole, a)
			}
		}
		return out, found
	}, t.Ports)
}

// asks returns what a listener asks of all that share something with it, by feature, to compare.
func (t *Tables) asks(r *incr.Reader, port model.Port, l *model.Listener) map[string]any {
	out := map[string]any{}
	for _, a := range t.clientFields(r, l.Key).Attached {
		if !concerns(a.Feature, l) {
			continue
		}
		if port.Protocol == model.HTTP {
			a.Source = model.Ref{} // the same words in two policies are the same
			out[a.Feature] = a
		} else if text := t.ofPort(a); text != "" {
			out[a.Feature] = text
		}
	}
	return out
}

// ofPort is what is asked of a whole port.
func (t *Tables) ofPort(a model.Attached) string {
	if t.opts.PortSettings == nil {
		return ""
	}
	return t.opts.PortSettings(a)
}

// differences returns the features of which two listeners ask for different things.
func differences(a, b map[string]any) []string {
	var out []string
	for feature, ask := range a {
		if !reflect.DeepEqual(ask, b[feature]) {
			out = append(out, feature)
		}
	}
	for feature := range b {
		if _, ok := a[feature]; !ok {
			out = append(out, feature)
		}
	}
	return out
}

// disputes reports whether the listeners of a port ask for different things of a feature.
func (t *Tables) disputes(r *incr.Reader, port model.PortKey, feature string) bool {
	found, ok := incr.Get(r, t.accords, port)
	return ok && slices.Contains(found.Disputed, feature)
}

// OfPort returns what all listeners of a port ask of the port as a whole.
func (t *Tables) OfPort(r *incr.Reader, port model.PortKey) []model.Attached {
	found, ok := incr.Get(r, t.accords, port)
	if !ok {
		return nil
	}
	return found.Whole
}

// clientAsks returns what the ClientTrafficPolicy of a listener asks for, as far as it can be applied there, and why
// nobody may get in, if something that guards cannot.
func (t *Tables) clientAsks(r *incr.Reader, port model.Port, l *model.Listener) (list []model.Attached, denied string) {
	fields := t.clientFields(r, l.Key)
	if len(fields.Unguarded) == 0 {
		denied = fields.Denied // the policy as a whole: nobody knows which of its fields guard
	}
	for _, feature := range fields.Unguarded {
		if concerns(feature, l) {
			denied = "InvalidClientTrafficPolicy"
		}
	}
	for _, a := range fields.Attached {
		lost := ""
		switch {
		case !concerns(a.Feature, l):
			continue
		case port.Protocol == model.HTTP && t.disputes(r, port.Key, a.Feature):
			lost = "ConflictedClientTrafficPolicy"
		case len(t.checkListener(a, port, l)) > 0:
			lost = "InvalidClientTrafficPolicy"
		default:
			list = append(list, a)
		}
		if lost != "" && denied == "" && t.guardsField(a.Feature) {
			denied = lost
		}
	}
	return list, denied
}

// checkListener returns why a listener cannot have what is asked of a feature.
func (t *Tables) checkListener(a model.Attached, port model.Port, l *model.Listener) status.Report {
	if t.opts.CheckListener == nil {
		return nil
	}
	return t.opts.CheckListener(a, l, SharedHostnames(port, l))
}

// SharedHostnames returns the hostnames of the listeners that share a connection manager with l: those of a plain HTTP
// port, the most specific first. Empty ones are left out.
func SharedHostnames(port model.Port, l *model.Listener) []string {
	var out []string
	for i := range port.Listeners {
		other := &port.Listeners[i]
		if (other.Key == l.Key || port.Protocol == model.HTTP) && other.Hostname != "" {
			out = append(out, other.Hostname)
		}
	}
	return out
}
