package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// editDrills are those of changes.
var editDrills = []drill{
	{id: "F16", fault: "a route is edited again and again under load: backend, weights, filters, matches, name",
		promise: "0 requests fail", run: edited},
	{id: "F17", fault: "routes are added one by one, each asked for all the time",
		promise: "404 until it is 200, and no other answer", run: added},
	{id: "F18", fault: "random routes of many are changed all the time, under load",
		promise: "0 requests fail, 0 are answered as routes were 5 s before; memory, files and threads do not grow",
		run:     churned},
	{id: "F20", fault: "Secrets that nothing refers to are written all the time",
		promise: "0 resources are pushed, and nothing fails", run: irrelevant},
}

// editVersions are what an edited route goes through. All of them answer for both backends together.
func editVersions() []string {
	const header = `{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: b}]}}`
	one, two := ref("one"), ref("two")
	weighted := func(a, b int) string {
		return fmt.Sprintf("{backendRefs: [{%s, weight: %d}, {%s, weight: %d}]}", strings.Trim(one, "{}"), a,
			strings.Trim(two, "{}"), b)
	}
	rules := [][]string{
		{to("one")}, {to("two")}, {weighted(3, 1)}, {weighted(0, 1)},
		{"{filters: [" + header + "], backendRefs: [" + two + "]}"},
		{"{matches: [{path: {value: /x}}], backendRefs: [" + one + "]}", to("two")},
		{to("two"), "{matches: [{path: {value: /x}}], backendRefs: [" + two + "]}"},
		{"{timeouts: {request: 5s}, retry: {attempts: 1, codes: [503]}, backendRefs: [" + one + "]}"},
	}
	var out []string
	for _, name := range []string{"edited", "renamed"} {
		for _, r := range rules {
			out = append(out, route(name, "edited.example", r...))
		}
	}
	return out
}

func edited(ctx context.Context, f *field) (string, error) {
	versions := editVersions()
	in, err := f.start(ctx, map[string]string{"edited.yaml": versions[0]})
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "edited.example", "/", 200); err != nil {
		return "", err
	}
	stop := f.startLoad(load.Config{
		Address: in.address(), Conns: 4, Rate: float64(f.size(500, 1000)), Requests: []load.Request{
			load.NewRequest("edited.example", "/", nil), load.NewRequest("edited.example", "/x/y", nil),
		},
	})
	edits := f.size(60, 1000)
	for i := range edits {
		if err := in.write("edited.yaml", versions[(i+1)%len(versions)]); err != nil {
			return "", err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
	result := stop()
	seen := fmt.Sprintf("%d edits, %v", edits, result)
	if err := in.write("edited.yaml", route("edited", "edited.example", to("two"))); err != nil {
		return seen, err
	}
	if err := eventually(ctx, 2*time.Second, func() error { return in.answeredBy("edited.example", "two") }); err != nil {
		return seen, broken("after the last edit: %v", err)
	}
	return seen, unharmed(result, edits)
}

// answeredBy returns an error if a request is not answered with 200 by a backend.
func (in *instance) answeredBy(host, name string) error {
	conn := load.NewConn(in.address())
	defer conn.Close()
	conn.Use(nil, `"name":"`+name+`"`)
	status, err := conn.Do(load.NewRequest(host, "/", nil))
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

func added(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, nil)
	if err != nil {
		return "", err
	}
	conn := load.NewConn(in.address())
	defer conn.Close()
	count := f.size(150, 3000)
	var took []time.Duration
	others := map[string]int{}
	for i := range count {
		// Each has a backend of its own, as applications have, which Envoy has to be told of before the route.
		name := fmt.Sprintf("r%d", i)
		content := route(name, host(i), to(name)) + "---\n" + backend(name, f.backends["one"].Port())
		began := time.Now()
		if err := in.write(name+".yaml", content); err != nil {
			return "", err
		}
		request := load.NewRequest(host(i), "/", nil)
		err := eventually(ctx, patience, func() error {
			status, err := conn.Do(request)
			switch {
			case err != nil:
				others[err.Error()]++
			case status != 200 && status != 404:
				others[fmt.Sprintf("status %d", status)]++
			case status == 200:
				return nil
			}
			return fmt.Errorf("route %d: status %d, error %w", i, status, err)
		})
		if err != nil {
			return "", err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond)
	seen := fmt.Sprintf("%d routes, %d other answers; p50 %v, p99 %v", count, len(others), p50, p99)
	if len(others) > 0 {
		return seen, broken("%v", others)
	}
	return seen, nil
}

// churned changes routes at random, while a witness asks for them. After a third of the time nothing may grow any more.
func churned(ctx context.Context, f *field) (string, error) {
	count, length := f.size(500, 10_000), time.Duration(f.size(20, 1800))*time.Second
	in, err := f.start(ctx, routes(count))
	if err != nil {
		return "", err
	}
	if err := in.write("kept.yaml", route("kept", "kept.example", to("one"))); err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "kept.example", "/", 200); err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(200, 1500)), "kept.example", host(0))
	w := newWitness(in, count, "one")
	dismiss := w.start()
	defer dismiss()
	rng, changes := rand.New(rand.NewPCG(1, 1)), 0
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var first census
	for began := time.Now(); time.Since(began) < length; <-ticker.C {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if first == (census{}) && time.Since(began) > length/3 {
			if first, err = in.census(ctx); err != nil {
				return "", err
			}
		}
		i := 1 + rng.IntN(count-1)
		name, backend := fmt.Sprintf("r%d", i), []string{"one", "two"}[rng.IntN(2)]
		w.writes(i, backend)
		if err := in.write(name+".yaml", route(name, host(i), to(backend))); err != nil {
			return "", err
		}
		changes++
	}
	last, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	result := stop()
	dismiss()
	grown := first.grown(last)
	seen := fmt.Sprintf("%d routes, %d changes in %v, %v; %v; %v, in the end %v", count, changes, length, result, w, first,
		last)
	f.count(w.asked, len(w.wrong))
	if len(grown) > 0 {
		return seen, broken("grown: %v", grown)
	}
	if len(w.wrong) > 0 {
		return seen, broken("%s", strings.Join(w.wrong[:min(5, len(w.wrong))], "; "))
	}
	return seen, unharmed(result, 500)
}

// census is what an instance uses.
type census struct{ plane, envoy, files, threads int }

func (c census) String() string {
	return fmt.Sprintf("control plane %d MiB with %d files and %d goroutines, Envoy %d MiB", c.plane, c.files, c.threads,
		c.envoy)
}

// grown names what has grown by more than chance: a tenth, and some.
func (c census) grown(later census) []string {
	var out []string
	for _, x := range []struct {
		what         string
		before, then int
		chance       int
	}{
		{"memory of the control plane", c.plane, later.plane, 16}, {"memory of Envoy", c.envoy, later.envoy, 16},
		{"files", c.files, later.files, 5}, {"goroutines", c.threads, later.threads, 10},
	} {
		if x.then > x.before+x.before/10+x.chance {
			out = append(out, fmt.Sprintf("%s from %d to %d", x.what, x.before, x.then))
		}
	}
	return out
}

func (in *instance) census(ctx context.Context) (census, error) {
	plane, err := in.planePID(ctx)
	if err != nil {
		return census{}, err
	}
	envoy, err := in.envoyPID(ctx)
	if err != nil {
		return census{}, err
	}
	planeMemory, _, err := usage.Resident(plane)
	if err != nil {
		return census{}, err
	}
	envoyMemory, _, err := usage.Resident(envoy)
	if err != nil {
		return census{}, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", plane))
	if err != nil {
		return census{}, err
	}
	goroutines, err := in.metric("go_goroutines")
	return census{int(planeMemory), int(envoyMemory), len(files), int(goroutines)}, err
}

// metric returns the sum of a metric of the control plane over its labels.
func (in *instance) metric(name string) (float64, error) {
	body, err := in.ask("/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(body) {
		full, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(full, "{"); base != name {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err != nil {
			return 0, fmt.Errorf("metric %s: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

func irrelevant(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(100))
	if err != nil {
		return "", err
	}
	before, err := in.metric("sluice_xds_pushes_total")
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(400, 1000)), host(0))
	writes := f.size(300, 4000)
	for i := range writes {
		content := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s%d}\nstringData: {a: \"%d\"}\n", i%50, i)
		if err := in.write(fmt.Sprintf("secret%d.yaml", i%50), content); err != nil {
			return "", err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return "", err
		}
	}
	after, err := in.metric("sluice_xds_pushes_total")
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d writes, %.0f pushes, %v", writes, after-before, result)
	if after != before {
		return seen, broken("%s", seen)
	}
	return seen, unharmed(result, 400)
}
