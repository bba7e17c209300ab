// Package basicauth is SecurityPolicy.basicAuth: let in who has a user name and a password of a list (RFC 7617).
//
// It is Envoy's basic_auth. users becomes its list of users, an htpasswd file in the key .htpasswd of a Secret, and
// forwardUsernameHeader its forward_username_header, which replaces what a client brings under that name.
//
// Envoy knows one kind of hash, {SHA}. A file with any other line would be refused by Envoy as a whole, so each line is
// looked at here: messages name its number and never its content, because whoever reads a policy's status may not be
// allowed to read the Secret.
package basicauth

import (
	"crypto/sha1" //nolint:gosec // the only hash that Envoy's basic_auth has
	"encoding/base64"
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	basicauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of SecurityPolicy.basicAuth.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

const filter = "envoy.filters.http.basic_auth"

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".basicAuth" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the Secret with the users.
func (Feature) References(a model.Attached) []resolve.Reference {
	users := a.Spec.(*egv1a1.BasicAuth).Users
	return []resolve.Reference{{Path: a.Path + ".users", Object: resolve.SecretReference(users)}}
}

// Check refuses a Secret without users that Envoy can check, and a header for the user's name that cannot be set.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var problems []feature.Problem
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
		})
	}
	if name := a.Spec.(*egv1a1.BasicAuth).ForwardUsernameHeader; name != nil {
		if err := header.CheckMutable(*name); err != nil {
			refuse(".forwardUsernameHeader", "Invalid header: %v", err)
		}
	}
	if len(a.Objects) == 0 {
		return problems
	}
	secret := a.Objects[0]
	text, ok := secret.Data[egv1a1.BasicAuthUsersSecretKey]
	switch {
	case secret.Ref.Kind != model.KindSecret:
		refuse(".users", "%s is not a Secret: passwords are read from Secrets only", secret.Ref)
	case !ok:
		refuse(".users", "%s has no key %s: put the output of htpasswd -s there", secret.Ref,
			egv1a1.BasicAuthUsersSecretKey)
	default:
		if _, err := parse(string(text)); err != nil {
			refuse(".users", "The file %s of %s: %v", egv1a1.BasicAuthUsersSecretKey, secret.Ref, err)
		}
	}
	return problems
}

// HTTPFilters adds the filter that asks for a password.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	users := ""
	if len(a.Objects) > 0 {
		users, _ = parse(string(a.Objects[0].Data[egv1a1.BasicAuthUsersSecretKey])) // refused by Check
	}
	config := &basicauthv3.BasicAuth{
		Users: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: users}},
	}
	if name := a.Spec.(*egv1a1.BasicAuth).ForwardUsernameHeader; name != nil {
		config.ForwardUsernameHeader = *name
	}
	s.Add(filter, config)
}

// mend is how a line is made that Envoy can check.
const mend = "make it anew with htpasswd -s .htpasswd USER"

// parse returns an htpasswd file as Envoy takes it: without comments, empty lines and space around lines.
func parse(text string) (string, error) {
	var out strings.Builder
	seen := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return "", fmt.Errorf("line %d is not USER:HASH: %s", i+1, mend)
		}
		if err := checkHash(hash); err != nil {
			return "", fmt.Errorf("line %d %w", i+1, err)
		}
		if first, dup := seen[user]; dup {
			return "", fmt.Errorf("lines %d and %d are for the same user: remove one", first, i+1)
		}
		seen[user] = i + 1
		out.WriteString(user + ":" + hash + "\n")
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("there are no users in it: add one with htpasswd -s .htpasswd USER")
	}
	return out.String(), nil
}

// kinds are what htpasswd writes in front of hashes that Envoy does not know.
var kinds = []struct{ prefix, name string }{
	{"$apr1$", "an MD5 hash (apr1)"}, {"$2", "a bcrypt hash"}, {"$5$", "a SHA-256 hash"}, {"$6$", "a SHA-512 hash"},
}

// checkHash returns what is wrong with a hash, to follow "line 1".
func checkHash(hash string) error {
	for _, kind := range kinds {
		if strings.HasPrefix(hash, kind.prefix) {
			return fmt.Errorf("has %s, and Envoy can check SHA only: %s", kind.name, mend)
		}
	}
	digest, ok := strings.CutPrefix(hash, "{SHA}")
	if !ok {
		return fmt.Errorf("has no SHA hash, and Envoy can check nothing else: %s", mend)
	}
	if sum, err := base64.StdEncoding.DecodeString(digest); err != nil || len(sum) != sha1.Size {
		return fmt.Errorf("has a broken SHA hash: %s", mend)
	}
	return nil
}
