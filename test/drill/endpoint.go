package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
)

// endpointDrills are those of endpoints that come and go.
var endpointDrills = []drill{
	{id: "F19", fault: "endpoints of thousands come and go all the time, under load",
		promise: "0 requests fail; only endpoints are pushed; a change is live within 1 s at p99", run: endpointsChurned},
	{id: "F40", fault: "one endpoint of four is gone half of the time", loses: true,
		promise: "with passive health checks 1 % of the requests fail at most; how many without is measured",
		run:     endpointFlips},
}

// sliceYAML is an EndpointSlice of a Service with addresses of this machine.
func sliceYAML(service, name string, port int, addresses []string) string {
	var endpoints []string
	for _, a := range addresses {
		endpoints = append(endpoints, "{addresses: ["+a+"], conditions: {ready: true}}")
	}
	return fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, labels: {kubernetes.io/service-name: %s}}
addressType: IPv4
ports: [{name: web, port: %d}]
endpoints: [%s]
`, name, service, port, strings.Join(endpoints, ", "))
}

// serviceYAML is a Service, and a route to it for the host NAME.example.
func serviceYAML(name string) string {
	return route(name, name+".example", "{backendRefs: [{name: "+name+", port: 80}]}") + fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {ports: [{name: web, port: 80}]}
`, name)
}

// churn is a Service with many endpoints, in slices.
type churn struct {
	in      *instance
	port    int
	slices  [][]string
	rng     *rand.Rand
	changes int
}

// change takes some endpoints out of a slice at random.
func (c *churn) change() error {
	at := c.rng.IntN(len(c.slices))
	c.changes++
	return c.write(at, func() bool { return c.rng.IntN(20) == 0 })
}

func (c *churn) write(at int, without func() bool) error {
	kept := slices.DeleteFunc(slices.Clone(c.slices[at]), func(string) bool { return without() })
	name := fmt.Sprintf("many-%d", at)
	return c.in.write(name+".yaml", sliceYAML("many", name, c.port, kept))
}

// keepChanging makes a change each time until it is told to quit.
func (c *churn) keepChanging(each time.Duration, quit <-chan struct{}) error {
	ticker := time.NewTicker(each)
	defer ticker.Stop()
	for {
		select {
		case <-quit:
			return nil
		case <-ticker.C:
		}
		if err := c.change(); err != nil {
			return err
		}
	}
}

func endpointsChurned(ctx context.Context, f *field) (string, error) {
	// All of 127.0.0.0/8 is this machine.
	server, err := echo.Listen("one", "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	f.cleanup(func() { _ = server.Close() })
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	c := &churn{in: in, port: server.Port(), rng: rand.New(rand.NewPCG(19, 19))}
	for i := range f.size(20, 50) {
		var addresses []string
		for j := range f.size(50, 100) {
			addresses = append(addresses, fmt.Sprintf("127.19.%d.%d", i, j+1))
		}
		c.slices = append(c.slices, addresses)
		if err := c.write(i, func() bool { return false }); err != nil {
			return "", err
		}
	}
	for name, content := range map[string]string{
		"many.yaml": serviceYAML("many"), "probe.yaml": serviceYAML("probe"), "probed.yaml": f.probed(0),
	} {
		if err := in.write(name, content); err != nil {
			return "", err
		}
	}
	if err := in.run(ctx); err != nil {
		return "", err
	}
	return f.churn(ctx, c)
}

// probed is the slice of the Service probe, in turn with one backend and the other.
func (f *field) probed(turn int) string {
	return sliceYAML("probe", "probed", f.backends[[]string{"one", "two"}[turn%2]].Port(), []string{"127.0.0.1"})
}

// churn changes endpoints and measures how long some of the changes take.
func (f *field) churn(ctx context.Context, c *churn) (string, error) {
	in := c.in
	before, err := in.pushes()
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(500, 1000)), "many.example")
	length, each := time.Duration(f.size(4, 60))*time.Second, time.Second/time.Duration(f.size(100, 200))
	var took []time.Duration
	changing, quit := make(chan error, 1), make(chan struct{})
	go func() { changing <- c.keepChanging(each, quit) }()
	turn := 0
	for began := time.Now(); time.Since(began) < length; {
		turn++
		start := time.Now()
		if err := in.write("probed.yaml", f.probed(turn)); err != nil {
			return "", err
		}
		err := eventually(ctx, patience, func() error {
			return in.answeredBy("probe.example", []string{"one", "two"}[turn%2])
		})
		if err != nil {
			return "", err
		}
		took = append(took, time.Since(start))
	}
	close(quit)
	if err := <-changing; err != nil {
		return "", err
	}
	result := stop()
	after, err := in.pushes()
	if err != nil {
		return "", err
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	seen := fmt.Sprintf("%d endpoints, %d changes in %v, %v; pushes: %v; live within %v at p99",
		len(c.slices)*len(c.slices[0]), c.changes+turn, length, result, after.since(before), p99.Round(time.Millisecond))
	switch {
	case after.since(before).besides("endpoints") > 0:
		return seen, broken("more than endpoints was pushed")
	case p99 > time.Second:
		return seen, broken("it took %v", p99)
	}
	return seen, unharmed(result, 500)
}

func endpointFlips(ctx context.Context, f *field) (string, error) {
	var endpoints []string
	var last *pipe
	for range 4 {
		p, err := f.pipe(f.backends["one"].Port())
		if err != nil {
			return "", err
		}
		last = p
		endpoints = append(endpoints, fmt.Sprintf("{ip: {address: 127.0.0.1, port: %d}}", p.port))
	}
	four := func(name string) string {
		return fmt.Sprintf("---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: %s}\n"+
			"spec: {endpoints: [%s]}\n", name, strings.Join(endpoints, ", "))
	}
	checked := policed("BackendTrafficPolicy", "checked", "healthCheck: {passive: {maxEjectionPercent: 50}}")
	in, err := f.start(ctx, map[string]string{
		"backends-of-four.yaml": four("four-checked") + four("four-plain"),
		"checked.yaml":          strings.Replace(checked, ref("one"), ref("four-checked"), 1),
		"plain.yaml":            route("plain", "plain.example", to("four-plain")),
	})
	if err != nil {
		return "", err
	}
	for _, host := range []string{"checked.example", "plain.example"} {
		if _, err := in.want(ctx, host, "/", 200); err != nil {
			return "", err
		}
	}
	rate, half := float64(f.size(300, 500)), time.Duration(f.size(1, 5))*time.Second
	stopChecked, stopPlain := in.load(rate, "checked.example"), in.load(rate, "plain.example")
	flips := f.size(3, 6)
	for range flips {
		err := last.during(ctx, outage{killed, 0}, func(ctx context.Context) error { return pause(ctx, half) })
		if err != nil {
			return "", err
		}
		if err := pause(ctx, half); err != nil {
			return "", err
		}
	}
	withChecks, without := stopChecked(), stopPlain()
	seen := fmt.Sprintf("%d flips of %v; with passive checks %v; without %v", flips, half, withChecks, without)
	switch {
	case withChecks.Sent < 100 || without.Failed() == 0:
		return seen, fmt.Errorf("the endpoint was not missed: %s", seen)
	case withChecks.Failed()*100 > withChecks.Sent:
		return seen, broken("more than 1 %% failed")
	}
	return seen, nil
}
