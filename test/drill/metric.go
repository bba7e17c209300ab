package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pushes are the pushes to Envoys so far, by type of resource.
type pushes map[string]int

// pushes asks the control plane how often it has pushed what.
func (in *instance) pushes() (pushes, error) {
	body, err := in.ask("/metrics")
	if err != nil {
		return nil, err
	}
	out := pushes{}
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "sluice_xds_pushes_total{")
		if !ok {
			continue
		}
		parts := strings.Split(rest, `"`)
		var n float64
		if len(parts) != 3 {
			return nil, fmt.Errorf("metric with other labels: %s", line)
		}
		if _, err := fmt.Sscan(strings.TrimPrefix(parts[2], "} "), &n); err != nil {
			return nil, fmt.Errorf("metric %s: %w", line, err)
		}
		out[parts[1]] = int(n)
	}
	return out, nil
}

// since returns how many came after others.
func (p pushes) since(before pushes) pushes {
	out := pushes{}
	for kind, n := range p {
		out[kind] = n - before[kind]
	}
	return out
}

// besides returns how many are of other types.
func (p pushes) besides(kind string) int {
	n := 0
	for k, count := range p {
		if k != kind {
			n += count
		}
	}
	return n
}

// String returns how many there are of each type.
func (p pushes) String() string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(p)) {
		out = append(out, fmt.Sprintf("%d %s", p[kind], kind))
	}
	return strings.Join(out, ", ")
}
