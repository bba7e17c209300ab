package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Listening returns a line for each listener that takes traffic: its address and where it was written.
func (p *Pipeline) Listening() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports []model.Port
	for _, port := range p.resolved.Ports.All() {
		ports = append(ports, port)
	}
	slices.SortFunc(ports, func(a, b model.Port) int { return a.Key.Compare(b.Key) })
	var out []string
	for _, port := range ports {
		for _, l := range port.Listeners {
			line := fmt.Sprintf("%-40s %s, listener %s", address(l), l.Key.Source, l.Key.Name)
			if _, ok := p.proxy(port.Key.Proxy).refused[resourceID{xds.Listener, ListenerName(port.Key)}]; ok {
				line += " (refused by Envoy)"
			}
			out = append(out, line)
		}
	}
	return out
}

// address is what to type to reach a listener.
func address(l model.Listener) string {
	host := l.Hostname
	if host == "" {
		host = "localhost"
	}
	return fmt.Sprintf("%s://%s:%d", strings.ToLower(string(l.Protocol)), host, l.Port)
}

// Hosts returns a line for each domain that a route serves: the domain and port, and the routes. Those of connections
// and datagrams come last.
func (p *Pipeline) Hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []model.HostKey
	for k := range p.built.Hosts.All() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, model.HostKey.Compare)
	var out []string
	for _, k := range keys {
		part, _ := p.built.Hosts.Peek(k)
		if len(part.Owners) == 0 {
			continue
		}
		routes := make([]string, len(part.Owners))
		for i, o := range part.Owners {
			routes[i] = o.String()
		}
		out = append(out, fmt.Sprintf("%-40s %s", fmt.Sprintf("%s:%d", k.Domain, k.Table.Port().Port),
			strings.Join(routes, ", ")))
	}
	return append(out, p.streams()...)
}

// streams returns a line for each domain of a TLS, TCP or UDP listener that a route has.
func (p *Pipeline) streams() []string {
	var keys []model.StreamKey
	for k := range p.resolved.StreamOwners.All() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, model.StreamKey.Compare)
	var out []string
	for _, k := range keys {
		owner, _ := p.resolved.StreamOwners.Peek(k)
		where := fmt.Sprintf("%s:%d", k.Domain, k.Port.Port)
		if k.Port.Transport == model.OverUDP {
			where += "/udp"
		}
		out = append(out, fmt.Sprintf("%-40s %s", where, owner))
	}
	return out
}
