package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KindSplit is the kind of a [BackendKey] that stands for several weighted backends in one: see [Split].
const KindSplit = "Split"

// maxSplitName is the length from which on the name of a split's cluster is a hash of its parts.
const maxSplitName = 120

// fallbackMark follows the weight of a part that is a fallback.
const fallbackMark = "!"

// Split returns the key of several backends that Envoy is to see as one, with their endpoints sharing the traffic by
// the backends' weights. It says itself what it is made of, so it depends on nothing but the backends and weights.
// The backends are valid and no splits themselves.
func Split(parts []WeightedBackend) BackendKey {
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = fmt.Sprintf("%s=%d", p.Backend, p.Weight) // no name has "=" or ","
		if p.Fallback {
			texts[i] += fallbackMark
		}
	}
	slices.Sort(texts)
	return BackendKey{Kind: KindSplit, Name: Name{Name: strings.Join(texts, ",")}}
}

// First returns the first backend of a split in the order of their names, and any other backend as it is.
func (k BackendKey) First() BackendKey {
	if parts := k.Parts(); len(parts) > 0 {
		return parts[0].Backend
	}
	return k
}

// Parts returns the backends of a split with their weights, nothing for any other backend.
func (k BackendKey) Parts() []WeightedBackend {
	if k.Kind != KindSplit {
		return nil
	}
	var out []WeightedBackend
	for _, text := range strings.Split(k.Name.Name, ",") {
		text, fallback := strings.CutSuffix(text, fallbackMark)
		name, weight, _ := strings.Cut(text, "=")
		n, err := strconv.ParseUint(weight, 10, 32)
		if err != nil {
			return nil
		}
		out = append(out, WeightedBackend{Backend: parseBackend(name), Weight: uint32(n), Fallback: fallback})
	}
	return out
}

// ParseBackend returns the Service, Backend or XBackend whose cluster has the name, and false if it is no such name.
func ParseBackend(name string) (BackendKey, bool) {
	if strings.Count(name, "/") < 2 {
		return BackendKey{}, false
	}
	key := parseBackend(name)
	return key, key.String() == name
}

// parseBackend reads what [BackendKey.String] wrote.
func parseBackend(name string) BackendKey {
	name, suffixes, _ := strings.Cut(name, "~")
	parts := strings.Split(name, "/")
	k := BackendKey{Kind: KindBackend, Name: Name{Namespace: parts[1], Name: parts[2]}}
	for suffix := range strings.SplitSeq(suffixes, "~") {
		if client, ok := strings.CutPrefix(suffix, clientMark); ok {
			k.Client.Namespace, k.Client.Name, _ = strings.Cut(client, "/")
			continue
		}
		if options, ok := strings.CutPrefix(suffix, tlsMark); ok {
			k.Options = tlsOptions(options)
			continue
		}
		if suffix == passthroughMark {
			k.Passthrough = true
			continue
		}
		if strings.HasPrefix(suffix, settingsMark) {
			k.Settings = parseSettings(suffix)
			continue
		}
		k.Use = AppProtocol(suffix)
	}
	for _, kind := range []string{KindService, KindXBackend} {
		if parts[0] == strings.ToLower(kind) {
			k.Kind = kind
		}
	}
	if len(parts) > 3 {
		port, _ := strconv.ParseUint(parts[3], 10, 16)
		k.Port = uint16(port)
	}
	return k
}

// splitName is the name of the cluster of a split: its parts, or a hash of them if they are many.
func splitName(parts string) string {
	if len(parts) > maxSplitName {
		sum := sha256.Sum256([]byte(parts))
		parts = hex.EncodeToString(sum[:16])
	}
	return "split/" + parts
}
