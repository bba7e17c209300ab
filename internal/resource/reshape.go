package resource

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// older are the fields that only older shapes have, as they are in JSON. Metadata that repeats the fields of an object
// does not have them in these quotes.
var older = [][]byte{[]byte(`"sessionName"`), []byte(`"cookieConfig"`)}

// HasOlderShapes says whether objects of a group may be in the shape of an older release, see [Reshape].
func HasOlderShapes(group string) bool {
	return group == model.GroupGateway || group == model.GroupGatewayX
}

// MayBeOlder says whether there may be something for [Reshape] in the JSON of objects. It is much faster than decoding.
func MayBeOlder(data []byte) bool {
	return slices.ContainsFunc(older, func(name []byte) bool { return bytes.Contains(data, name) })
}

// Reshape brings what older releases of an API wrote in another shape, under the same version, into the shape of the
// kind's schema: the session persistence of Gateway API up to 1.6, which releases of Envoy Gateway document. The object
// is JSON, of a group that [HasOlderShapes]. The notices say what has become of it.
func Reshape(obj map[string]any) (notices []string) {
	in := func(part map[string]any, path string) {
		if notice := reshapeSession(part, path); notice != "" {
			notices = append(notices, notice)
		}
	}
	spec, _ := obj["spec"].(map[string]any)
	in(spec, "spec")
	rules, _ := spec["rules"].([]any)
	for i, r := range rules {
		rule, _ := r.(map[string]any)
		in(rule, fmt.Sprintf("spec.rules[%d]", i))
	}
	return notices
}

// reshapeSession makes sessionName the name of the cookie or the header, and cookieConfig the cookie. A mixture of both
// shapes stays as it is: which of the two holds, nobody can say. It returns what there is to be said of it.
func reshapeSession(in map[string]any, path string) string {
	session, _ := in["sessionPersistence"].(map[string]any)
	name, named := session["sessionName"]
	config, configured := session["cookieConfig"]
	_, cookie := session["cookie"]
	_, header := session["header"]
	if !named && !configured || cookie || header {
		return ""
	}
	var advice []string
	field := "cookie"
	if session["type"] == "Header" {
		field = "header"
	}
	to := map[string]any{}
	if configured && field == "cookie" {
		old, ok := config.(map[string]any)
		if !ok {
			return ""
		}
		for k, v := range old {
			to[k] = v
		}
		delete(session, "cookieConfig")
		advice = append(advice, "cookieConfig is cookie")
	}
	if named {
		to["name"] = name
		delete(session, "sessionName")
		advice = append(advice, fmt.Sprintf("sessionName is %s.name", field))
	}
	if len(advice) == 0 {
		return ""
	}
	session[field] = to
	slices.Reverse(advice)
	return fmt.Sprintf("%s.sessionPersistence has the shape of Gateway API 1.6 and is read as that of 1.7, in which "+
		"%s: write it so%s", path, strings.Join(advice, ", and "), dropTimeout(session, to, field))
}

// dropTimeout takes away an absoluteTimeout without effect: Envoy Gateway, whose examples have one, ignores it in the
// older shape. It returns the end of a notice.
func dropTimeout(session, to map[string]any, field string) string {
	if _, ok := session["absoluteTimeout"]; !ok || to["lifetimeType"] == "Permanent" {
		return ""
	}
	delete(session, "absoluteTimeout")
	notice := "; absoluteTimeout is ignored, because Envoy can only limit the life of a permanent cookie: remove it"
	if field == "cookie" {
		notice += ", or set cookie.lifetimeType to Permanent"
	}
	return notice
}
