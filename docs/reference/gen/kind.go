package main

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/internal/resource"
)

const kindIntroduction = `# Kinds

The kinds of objects that Sluice reads from files. An object in an older version is read as the one that is used, with
a note. Every object is checked: one of the Gateway API or of Envoy Gateway against the schema and the rules of its
CRD, one of Kubernetes itself against its fields. A kind of another group is ignored, with a note; an unknown kind of
these groups is an error.

| kind | apiVersion | older versions | namespace | checked against |
| --- | --- | --- | --- | --- |
`

// kindPage returns the page of the kinds, in the order of their table.
func kindPage() string {
	var page strings.Builder
	page.WriteString(kindIntroduction)
	for i := range resource.Kinds {
		k := &resource.Kinds[i]
		version := k.Version
		if k.Group != "" {
			version = k.Group + "/" + k.Version
		}
		older := "none"
		if len(k.Older) > 0 {
			older = "`" + strings.Join(k.Older, "`, `") + "`"
		}
		namespace := "yes, `default` unless given"
		if k.Cluster {
			namespace = "no"
		}
		checked := "its CRD"
		if k.Builtin {
			checked = "its fields"
		}
		_, _ = fmt.Fprintf(&page, "| %s | `%s` | %s | %s | %s |\n", k.Kind, version, older, namespace, checked)
	}
	return page.String()
}
