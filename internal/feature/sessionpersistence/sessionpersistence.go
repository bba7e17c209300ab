// Package sessionpersistence is the field sessionPersistence of a rule: send the requests of a client to the endpoint
// that had its first one (Gateway API: SessionPersistence, GEP-1619).
//
// It is the HTTP filter envoy.filters.http.stateful_session. A cookie is CookieBasedSessionState, a header
// HeaderBasedSessionState: Envoy writes the endpoint's address into it. strict is false: if the endpoint is gone,
// another one takes over.
//
// A cookie without a name gets one that is made of a hash of the names of the route and the rule (its index, if it has
// none), so that sessions survive whatever else is changed of the rule. A permanent
// cookie lives for absoluteTimeout, its Max-Age. Envoy keeps no sessions, so it cannot end one that the client carries
// on: absoluteTimeout with a session cookie or a header is refused.
package sessionpersistence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statefulv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field sessionPersistence.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Pinner     = Feature{}
)

const (
	name        = "SessionPersistence"
	filter      = "envoy.filters.http.stateful_session"
	cookieState = "envoy.http.stateful_session.cookie"
	headerState = "envoy.http.stateful_session.header"
	// generated is how the names of cookies start that users gave no name.
	generated = "sluice-session-"
)

// Name returns the name of the field's type.
func (Feature) Name() string { return name }

// Pins makes a rule's backends one cluster, among whose endpoints a session then is.
func (Feature) Pins() {}

// Check refuses unknown types, names that are none, and lifetimes that Envoy cannot enforce.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.SessionPersistence)
	problems := checkLifetime(spec)
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
		})
	}
	switch kind(spec) {
	case gwv1.CookieBasedSessionPersistence:
		cookie := cookieOf(spec)
		if cookie.Name != nil {
			if err := header.CheckName(string(*cookie.Name)); err != nil {
				refuse(".cookie.name", "The name %q is not a cookie name: use letters, digits and any of !#$%%&'*+-.^_`|~",
					*cookie.Name)
			}
		}
		if cookie.Path != nil && !validPath(*cookie.Path) {
			refuse(".cookie.path", "The path %q is not one for a cookie: start it with a slash, and leave out semicolons "+
				"and characters that are not printable ASCII", *cookie.Path)
		}
	case gwv1.HeaderBasedSessionPersistence:
		if spec.Header == nil {
			refuse(".header", "The header is missing: give its name")
		} else if err := header.CheckMutable(string(spec.Header.Name)); err != nil {
			refuse(".header.name", "Invalid header: %v", err)
		} else if strings.EqualFold(string(spec.Header.Name), "host") {
			refuse(".header.name", "The header Host cannot carry a session: use another one")
		}
	default:
		refuse(".type", "The type %q is not supported: use Cookie or Header", *spec.Type)
	}
	return problems
}

func checkLifetime(spec *gwv1.SessionPersistence) []feature.Problem {
	problem := func(path, format string, args ...any) []feature.Problem {
		return []feature.Problem{{Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path}}
	}
	if spec.AbsoluteTimeout == nil {
		if permanent(spec) {
			return problem(".absoluteTimeout", "The absoluteTimeout is missing: a permanent cookie needs one")
		}
		return nil
	}
	switch d, err := duration.Parse(*spec.AbsoluteTimeout); {
	case err != nil:
		return problem(".absoluteTimeout", "Invalid absoluteTimeout: %v", err)
	case !permanent(spec):
		return problem(".absoluteTimeout", "Envoy can only limit the life of a permanent cookie: "+
			"set cookie.lifetimeType to Permanent, or remove absoluteTimeout")
	case d.Seconds() < 1:
		return problem(".absoluteTimeout", "A cookie lives for whole seconds: use at least 1s")
	}
	return nil
}

// HTTPFilters makes the route's sessions sticky.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*gwv1.SessionPersistence)
	state := &corev3.TypedExtensionConfig{}
	switch kind(spec) {
	case gwv1.HeaderBasedSessionPersistence:
		state.Name = headerState
		state.TypedConfig = feature.Pack(&headerv3.HeaderBasedSessionState{Name: string(spec.Header.Name)})
	default:
		state.Name = cookieState
		state.TypedConfig = feature.Pack(cookie(spec, generatedName(s.Route, a)))
	}
	s.Add(filter, &statefulv3.StatefulSession{SessionState: state})
}

func cookie(spec *gwv1.SessionPersistence, generated string) proto.Message {
	in := cookieOf(spec)
	out := &httpv3.Cookie{Path: "/"}
	if in.Name != nil {
		out.Name = string(*in.Name)
	} else {
		out.Name = generated
	}
	if in.Path != nil && *in.Path != "" {
		out.Path = *in.Path
	}
	if permanent(spec) {
		out.Ttl = durationpb.New(duration.MustParse(*spec.AbsoluteTimeout))
	}
	return &cookiev3.CookieBasedSessionState{Cookie: out}
}

// generatedName is made of the names of the route and the rule, so that it outlasts edits of the rule. The sessions of
// a backend that asks for them itself are the same on all routes that lead to it, and are named after it.
func generatedName(r *feature.Route, a model.Attached) string {
	if a.Source != (model.Ref{}) {
		sum := sha256.Sum256([]byte(a.Source.Group + "/" + a.Source.String())) // no route has its group before its kind
		return generated + hex.EncodeToString(sum[:8])
	}
	rule := r.Rule.Name
	if rule == "" {
		rule = strconv.Itoa(r.Rule.Index)
	}
	sum := sha256.Sum256([]byte(r.Key.String() + "/" + rule)) // names have no slash
	return generated + hex.EncodeToString(sum[:8])
}

func kind(spec *gwv1.SessionPersistence) gwv1.SessionPersistenceType {
	if spec.Type == nil {
		return gwv1.CookieBasedSessionPersistence
	}
	return *spec.Type
}

func cookieOf(spec *gwv1.SessionPersistence) gwv1.CookieConfig {
	if spec.Cookie == nil {
		return gwv1.CookieConfig{}
	}
	return *spec.Cookie
}

func permanent(spec *gwv1.SessionPersistence) bool {
	lifetime := cookieOf(spec).LifetimeType
	return kind(spec) == gwv1.CookieBasedSessionPersistence && lifetime != nil &&
		*lifetime == gwv1.PermanentCookieLifetimeType
}

// validPath says whether Envoy can write path into a cookie as it is (RFC 6265, section 4.1.1: path-value).
func validPath(path string) bool {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ';' }
	return path == "" || strings.HasPrefix(path, "/") && !strings.ContainsFunc(path, bad)
}
