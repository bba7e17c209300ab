package resource

import (
	"fmt"
	"slices"
	"strings"
)

// Find returns the row of a kind, nil if Sluice does not know it.
func Find(group, kind string) *Kind {
	for i := range Kinds {
		if Kinds[i].Kind == kind && Kinds[i].Group == group {
			return &Kinds[i]
		}
	}
	return nil
}

// recognition is what an apiVersion and kind turned out to mean: one of its fields is set.
type recognition struct {
	kind *Kind
	// older is the version that was written, when it is one that is upgraded.
	older string
	// ignored says why an object is none of Sluice's business, wrong why it looks as if it were but is not.
	ignored, wrong string
	// field is the field that is wrong.
	field string
}

// recognise finds the kind of an object. Objects that are not for Sluice are ignored, so that whole folders of
// manifests can be read; but what looks meant for it and is misspelt must not silently do nothing.
func (x Extensions) recognise(apiVersion, kind string) recognition {
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	if k := x.Find(group, kind); k != nil {
		switch {
		case version == k.Version:
			return recognition{kind: k}
		case slices.Contains(k.Older, version) && k.Extension:
			return recognition{kind: k} // whoever understands it knows its versions
		case slices.Contains(k.Older, version):
			return recognition{kind: k, older: version}
		}
		return recognition{field: "apiVersion", wrong: fmt.Sprintf("no matches for kind %q in version %q: use %s",
			kind, apiVersion, strings.Join(k.apiVersions(), " or "))}
	}
	for i := range Kinds {
		// The API groups of others may well have a Service or a Gateway too (Knative, Istio): only what has no group
		// looks like one forgotten.
		if k := &Kinds[i]; k.Kind == kind && (group == "" || k.Builtin && !strings.Contains(group, ".")) {
			return recognition{field: "apiVersion", wrong: fmt.Sprintf("no matches for kind %q in version %q: use %s",
				kind, apiVersion, k.apiVersion())}
		}
	}
	near, own := nearKinds(group, kind)
	switch {
	case len(near) > 0:
		return recognition{field: "kind", wrong: fmt.Sprintf("no matches for kind %q in version %q: did you mean %s?",
			kind, apiVersion, strings.Join(near, " or "))}
	case own != nil:
		return recognition{field: "kind", wrong: fmt.Sprintf(
			"no matches for kind %q in version %q: Sluice reads %s of this group", kind, apiVersion, strings.Join(own, ", "))}
	}
	return recognition{ignored: fmt.Sprintf("%s %s is not a kind that Sluice reads: ignored", kind, apiVersion)}
}

func (k *Kind) apiVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

func (k *Kind) apiVersions() []string {
	all := []string{k.apiVersion()}
	for _, v := range k.Older {
		all = append(all, k.Group+"/"+v)
	}
	return all
}

// nearKinds returns the kinds of a group whose name is nearly the given one and, unless it is a group of Kubernetes'
// own, of which Sluice reads only some kinds, all its kinds.
func nearKinds(group, kind string) (near, own []string) {
	for i := range Kinds {
		k := &Kinds[i]
		if k.Group != group {
			continue
		}
		if !k.Builtin {
			own = append(own, k.Kind)
		}
		if distance(strings.ToLower(k.Kind), strings.ToLower(kind)) <= 2 {
			near = append(near, k.Kind)
		}
	}
	slices.Sort(near)
	slices.Sort(own)
	return near, own
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
