package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// reshape brings what older releases of an API wrote in another shape, under the same version, into the shape of the
// kind's schema: the session persistence of Gateway API up to 1.6, which releases of Envoy Gateway document.
func (d *decoder) reshape() {
	if d.kind.Group != model.GroupGateway && d.kind.Group != model.GroupGatewayX {
		return
	}
	spec, _ := d.obj["spec"].(map[string]any)
	d.reshapeSession(spec, "spec")
	rules, _ := spec["rules"].([]any)
	for i, r := range rules {
		rule, _ := r.(map[string]any)
		d.reshapeSession(rule, fmt.Sprintf("spec.rules[%d]", i))
	}
}

// reshapeSession makes sessionName the name of the cookie or the header, and cookieConfig the cookie. A mixture of both
// shapes stays as it is: which of the two holds, nobody can say.
func (d *decoder) reshapeSession(in map[string]any, path string) {
	session, _ := in["sessionPersistence"].(map[string]any)
	name, named := session["sessionName"]
	config, configured := session["cookieConfig"]
	_, cookie := session["cookie"]
	_, header := session["header"]
	if !named && !configured || cookie || header {
		return
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
			return
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
		return
	}
	session[field] = to
	slices.Reverse(advice)
	d.notice(fmt.Sprintf("%s.sessionPersistence has the shape of Gateway API 1.6 and is read as that of 1.7, in which "+
		"%s: write it so", path, strings.Join(advice, ", and ")))
}
