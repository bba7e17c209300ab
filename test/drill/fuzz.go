package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// fuzzDrills are those of what nobody would write.
var fuzzDrills = []drill{
	{id: "F43", fault: "objects are changed at random: fields go, are doubled and get values of others, and odd ones",
		promise: "0 requests of others fail, nothing panics, neither Envoy nor the control plane dies, and the connection " +
			"between them stays: Envoy takes what is made of them, or it is blamed on them",
		run: fuzzed},
}

// shape is an object as YAML has it.
type shape = map[string]any

// corpus are the objects of the tests about mistakes that only change what is served on listeners that are there.
func corpus() ([]shape, error) {
	var paths []string
	for _, dir := range []string{filepath.Join("test", "e2e"), filepath.Join("..", "e2e")} {
		found, err := filepath.Glob(filepath.Join(dir, "testdata", "bad", "*.yaml"))
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		return nil, errors.New("there is nothing to start from: run this in the repository")
	}
	var out []shape
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text := strings.NewReplacer("${one}", strings.Trim(ref("one"), "{}"), "${two}", strings.Trim(ref("two"), "{}")).
			Replace(string(content))
		for doc := range strings.SplitSeq(text, "\n---\n") {
			var s shape
			// What is no YAML on purpose is left to the tests.
			if yaml.Unmarshal([]byte(doc), &s) == nil && harmless(s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// harmless reports whether an object opens no ports.
func harmless(s shape) bool {
	switch s["kind"] {
	case "Gateway", "GatewayClass", "ListenerSet", "EnvoyProxy", nil:
		return false
	}
	return s["spec"] != nil
}

// odd are values that are wrong in most places.
var odd = []any{
	nil, "", "%", "\x00", "(", "*", "${X}", "a/../b", -1, 0, 1 << 40, 0.5, true, "99999h", "1ms", []any{}, shape{}, "::1",
	strings.Repeat("x", 300), "é",
}

// mutate changes something in a value, and returns it. others are where it takes values from.
func mutate(rng *rand.Rand, value any, others []shape) any {
	switch v := value.(type) {
	case shape:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		if slices.Sort(keys); len(keys) == 0 {
			return odd[rng.IntN(len(odd))]
		}
		key := keys[rng.IntN(len(keys))]
		switch rng.IntN(8) {
		case 0:
			delete(v, key)
		case 1:
			v[key] = odd[rng.IntN(len(odd))]
		case 2:
			v[keys[rng.IntN(len(keys))]] = v[key]
		default:
			v[key] = mutate(rng, v[key], others)
		}
		return v
	case []any:
		if len(v) == 0 {
			return v
		}
		at := rng.IntN(len(v))
		if rng.IntN(4) == 0 {
			return append(v, v[at])
		}
		v[at] = mutate(rng, v[at], others)
		return v
	}
	if rng.IntN(3) == 0 {
		return others[rng.IntN(len(others))]["spec"]
	}
	return odd[rng.IntN(len(odd))]
}

// offspring is a changed copy of one of the objects.
func offspring(rng *rand.Rand, objects []shape) (string, error) {
	parent, err := yaml.Marshal(objects[rng.IntN(len(objects))])
	if err != nil {
		return "", err
	}
	var child shape
	if err := yaml.Unmarshal(parent, &child); err != nil {
		return "", err
	}
	for range 1 + rng.IntN(2) {
		child["spec"] = mutate(rng, child["spec"], objects)
	}
	text, err := yaml.Marshal(child)
	return string(text), err
}

func fuzzed(ctx context.Context, f *field) (string, error) {
	objects, err := corpus()
	if err != nil {
		return "", err
	}
	in, err := f.start(ctx, map[string]string{"plain.yaml": route("plain", "plain.example", to("one"))})
	if err != nil {
		return "", err
	}
	before, err := in.pids(ctx)
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "plain.example", "/", 200); err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), "plain.example")
	rng := rand.New(rand.NewPCG(43, 43))
	written, length := 0, time.Duration(f.size(8, 180))*time.Second
	for began, round := time.Now(), 0; time.Since(began) < length; round++ {
		// Several at a time, so that they meet.
		for i := range 10 {
			text, err := offspring(rng, objects)
			if err != nil {
				return "", err
			}
			if err := in.write(fmt.Sprintf("fuzz-%d.yaml", i), text); err != nil {
				return "", err
			}
			written++
		}
		// What comes after them is live after them.
		marker := fmt.Sprintf("marker-%d.example", round)
		if err := in.write("marker.yaml", route("marker", marker, to("one"))); err != nil {
			return "", err
		}
		if _, err := in.want(ctx, marker, "/", 200); err != nil {
			return "", broken("after %d objects a route is not live: %v", written, err)
		}
	}
	return in.judgeFuzzed(ctx, written, before, unharmed(stop(), 200))
}

// pids are the processes of Envoy and the control plane.
func (in *instance) pids(ctx context.Context) ([2]int, error) {
	envoy, err := in.envoyPID(ctx)
	if err != nil {
		return [2]int{}, err
	}
	plane, err := in.planePID(ctx)
	return [2]int{envoy, plane}, err
}

func (in *instance) judgeFuzzed(ctx context.Context, written int, before [2]int, others error) (string, error) {
	refused, err := in.metric("sluice_xds_nacks_total")
	if err != nil {
		return "", err
	}
	faults, err := in.metric("sluice_faults_total")
	if err != nil {
		return "", err
	}
	after, err := in.pids(ctx)
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%d objects, %.0f refusals by Envoy, %.0f panics", written, refused, faults)
	switch {
	case faults > 0:
		return seen, broken("there were panics:\n%s", lastBug(in.output.String()))
	case before != after:
		return seen, broken("a process has died:\n%s", in.output)
	}
	return seen, others
}

// lastBug is what the output says of the last panic.
func lastBug(output string) string {
	at := strings.LastIndex(output, "  bug ")
	if at < 0 {
		return output
	}
	return output[at:min(len(output), at+4000)]
}
