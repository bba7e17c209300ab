package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/drill/matcher"
	"github.com/sluice-gateway/sluice/test/echo"
)

// modelDrills compare what is served with what the Gateway API says.
var modelDrills = []drill{
	{id: "M01", fault: "random routes on random listeners, one world after the other, and random requests",
		promise: "each is answered as a naive reading of the Gateway API says", run: modelled},
}

func modelled(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, nil)
	if err != nil {
		return "", err
	}
	rng := rand.New(rand.NewPCG(7, 7))
	worlds, each, wrong := f.size(10, 40), f.size(500, 2500), []string(nil)
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// The port of a URL is that of the world.
			_, port, _ := net.SplitHostPort(address)
			return new(net.Dialer).DialContext(ctx, network, in.worldAddress(port == "81"))
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for n := range worlds {
		w := matcher.Generate(rng)
		if err := in.show(ctx, w, n); err != nil {
			return "", err
		}
		for range each {
			request := matcher.Ask(rng)
			complaint, err := ask(ctx, client, request, w.Find(request))
			if err != nil {
				return "", fmt.Errorf("world %d: %w", n, err)
			}
			if complaint != "" {
				wrong = append(wrong, fmt.Sprintf("world %d: %+v: %s", n, request, complaint))
			}
		}
	}
	f.count(worlds*each, len(wrong))
	seen := fmt.Sprintf("%d worlds, %d requests, %d answered otherwise", worlds, worlds*each, len(wrong))
	if len(wrong) > 0 {
		return seen, broken("%s", strings.Join(wrong[:min(5, len(wrong))], "\n"))
	}
	return seen, nil
}

// worldAddress is one of the two ports of a world.
func (in *instance) worldAddress(second bool) string {
	if second {
		return fmt.Sprintf("127.0.0.1:%d", in.tlsPort)
	}
	return in.address()
}

// show puts a world in the place of the one before, and waits until it is live on both ports.
func (in *instance) show(ctx context.Context, w matcher.World, n int) error {
	marker := fmt.Sprintf("marker-%d.example.com", n)
	var out strings.Builder
	fmt.Fprintf(&out, `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners:
`)
	for _, l := range w.Listeners {
		fmt.Fprintf(&out, "  - {name: %s, protocol: HTTP, port: %d%s}\n", l.Name, []int{in.port, in.tlsPort}[l.Port],
			optional("hostname", l.Hostname))
	}
	for i := range w.Routes {
		out.WriteString("---\n" + routeYAML(&w.Routes[i]))
	}
	already := len(in.output.String())
	if err := in.write("gateway.yaml", out.String()); err != nil {
		return err
	}
	// A host whose clusters are warming comes later than others, and a route goes a moment after it is in no file any
	// more, for it could have been moved to another one.
	err := eventually(ctx, patience, func() error {
		if said := in.output.String()[already:]; !strings.Contains(said, "  live ") {
			return fmt.Errorf("world %d is not live: %s", n, said)
		}
		return in.hasRoutes(w)
	})
	if err != nil {
		return err
	}
	// What is written after that is live after that.
	if err := in.write("marker.yaml", route("marker", marker, to("one"))); err != nil {
		return err
	}
	for _, second := range []bool{false, true} {
		conn := load.NewConn(in.worldAddress(second))
		err := eventually(ctx, patience, func() error {
			status, err := conn.Do(load.NewRequest(marker, "/", nil))
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("world %d is not served: status %d", n, status)
			}
			return err
		})
		conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// hasRoutes returns an error unless the instance knows just the routes of a world, and at most the marker besides.
func (in *instance) hasRoutes(w matcher.World) error {
	list, err := in.objects()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, o := range list {
		if o.Kind == "HTTPRoute" && o.Metadata.Name != "marker" {
			known[o.Metadata.Name] = true
		}
	}
	for _, r := range w.Routes {
		if !known[r.Name] {
			return fmt.Errorf("the route %s is not known", r.Name)
		}
		delete(known, r.Name)
	}
	if len(known) > 0 {
		return fmt.Errorf("%d routes are left", len(known))
	}
	return nil
}

// optional is a field of a YAML flow mapping with a string, unless that is empty.
func optional(name, value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf(", %s: %q", name, value)
}

func routeYAML(r *matcher.Route) string {
	var out strings.Builder
	fmt.Fprintf(&out, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw%s}]
`, r.Name, optional("sectionName", r.Section))
	if len(r.Hostnames) > 0 {
		fmt.Fprintf(&out, "  hostnames: [\"%s\"]\n", strings.Join(r.Hostnames, `", "`))
	}
	out.WriteString("  rules:\n")
	for _, rule := range r.Rules {
		var matches []string
		for _, m := range rule.Matches {
			matches = append(matches, matchYAML(m))
		}
		set := fmt.Sprintf("{set: [{name: x-rule, value: %s}]}", rule.ID)
		filters := []string{"{type: ResponseHeaderModifier, responseHeaderModifier: " + set + "}"}
		if rule.Redirect > 0 {
			filters = []string{fmt.Sprintf("{type: RequestRedirect, requestRedirect: {hostname: to-%s.example, statusCode: %d}}",
				rule.ID, rule.Redirect)}
		} else {
			filters = append(filters, "{type: RequestHeaderModifier, requestHeaderModifier: "+set+"}")
		}
		var backends []string
		for _, name := range slices.Sorted(maps.Keys(rule.Backends)) {
			backends = append(backends, fmt.Sprintf("{%s, weight: %d}", strings.Trim(ref(name), "{}"), rule.Backends[name]))
		}
		fmt.Fprintf(&out, "  - {matches: [%s], filters: [%s], backendRefs: [%s]}\n", strings.Join(matches, ", "),
			strings.Join(filters, ", "), strings.Join(backends, ", "))
	}
	return out.String()
}

func matchYAML(m matcher.Match) string {
	kind := "PathPrefix"
	if m.Exact {
		kind = "Exact"
	}
	pairs := func(of map[string]string) string {
		var out []string
		for _, name := range slices.Sorted(maps.Keys(of)) {
			out = append(out, fmt.Sprintf("{name: %s, value: %q}", name, of[name]))
		}
		return strings.Join(out, ", ")
	}
	return fmt.Sprintf("{path: {type: %s, value: %q}%s, headers: [%s], queryParams: [%s]}", kind, m.Path,
		optional("method", m.Method), pairs(m.Headers), pairs(m.Query))
}

// ask sends a request, and returns how the answer differs from what a rule makes of it.
func ask(ctx context.Context, client *http.Client, r matcher.Request, rule *matcher.Rule) (string, error) {
	query := url.Values{}
	for name, value := range r.Query {
		query.Set(name, value)
	}
	target := url.URL{
		Scheme: "http", Host: fmt.Sprintf("gateway:%d", 80+r.Port), Path: r.Path, RawQuery: query.Encode(),
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, target.String(), nil)
	if err != nil {
		return "", err
	}
	request.Host = r.Host
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var got echo.Reply
	if response.StatusCode == http.StatusOK {
		if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
			return "", err
		}
	}
	return complain(response, got, rule), nil
}

// complain says how an answer differs from what a rule makes of the request; "" if it does not.
func complain(response *http.Response, got echo.Reply, rule *matcher.Rule) string {
	status, open := http.StatusNotFound, false
	if rule != nil {
		for _, weight := range rule.Backends {
			open = open || weight > 0
		}
		switch {
		case rule.Redirect > 0:
			status = rule.Redirect
		case open:
			status = http.StatusOK
		default:
			status = http.StatusInternalServerError
		}
	}
	if response.StatusCode != status {
		return fmt.Sprintf("status %d of rule %q, want %d of %+v", response.StatusCode, response.Header.Get("x-rule"), status,
			rule)
	}
	switch {
	case rule == nil:
		return ""
	case rule.Redirect > 0:
		location, err := response.Location()
		if want := "to-" + rule.ID + ".example"; err != nil || location.Hostname() != want {
			return fmt.Sprintf("redirected to %v (%v), want the host %s", location, err, want)
		}
	case open:
		if id := response.Header.Get("x-rule"); id != rule.ID || got.Headers.Get("x-rule") != rule.ID {
			return fmt.Sprintf("answered by rule %q, at the backend %q, want %q", id, got.Headers.Get("x-rule"), rule.ID)
		}
		if rule.Backends[got.Name] == 0 {
			return fmt.Sprintf("answered by the backend %q, want one of %v", got.Name, rule.Backends)
		}
	}
	return ""
}
