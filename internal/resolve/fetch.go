package resolve

import (
	"bytes"
	"cmp"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// FetchReference is something on a server. What it says itself is checked by the feature, the rest here.
type FetchReference struct {
	// Kind, URL, SHA256, Limit, Every and Keep are those of [model.FetchSpec].
	Kind   model.FetchKind
	URL    string
	SHA256 string
	Limit  int64
	Every  time.Duration
	Keep   time.Duration
	// Instead says what is done while it is not there, one clause for a message, if that does as well: the policy is
	// accepted then, and warns. The feature is given a Fetched without Data meanwhile. Else it is empty.
	Instead string
	// CA is the ConfigMap, Secret or ClusterTrustBundle with the certificate authorities (ca.crt) that are trusted besides
	// those of the system; nil for none. CAPath is the field that names it.
	CA     *ObjectReference
	CAPath string
	// Credentials is the Secret of type kubernetes.io/dockerconfigjson with the credentials for a registry; nil for none.
	// CredentialsPath is the field that names it.
	Credentials     *ObjectReference
	CredentialsPath string
}

// reasonPending is the reason of what is neither right nor wrong yet.
const reasonPending = "Pending"

// The reasons of warnings about what cannot be fetched: there is something instead, or something older.
const (
	reasonNotFetched = "NotFetched"
	reasonStale      = "Stale"
)

// addFetches adds what is to be fetched: for policies that hold for something, since nobody else should be able to send
// the control plane to a server.
func (t *Tables) addFetches(e *incr.Engine, uses *incr.Table[policyUse, struct{}]) {
	ofUses := incr.NewTable(e, "fetches of policies", func(r *incr.Reader, use policyUse) ([]model.Fetch, bool) {
		if use.Target != (policyTarget{}) {
			return nil, false
		}
		fields := t.fieldsOf(r, mergedKey{Kind: use.Policy.Kind, Own: use.Policy.Name, Parent: use.Parent})
		return fields.Fetches, len(fields.Fetches) > 0
	}, uses)
	wanted := incr.NewIndex(e, "policies by fetch", ofUses, func(_ policyUse, list []model.Fetch) []model.Fetch {
		return list
	})
	t.Fetches = incr.NewTable(e, "fetches", func(*incr.Reader, model.Fetch) (struct{}, bool) {
		return struct{}{}, true
	}, wanted)
}

// Wants reports whether a policy wanted something fetched as of the last commit.
func (t *Tables) Wants(policy model.Ref, fetch model.Fetch) bool {
	fields, ok := t.policyFields.Peek(policy)
	return ok && slices.Contains(fields.Fetches, fetch)
}

// fetched returns what a reference to something on a server has led to.
func (v *fieldResolver) fetched(from model.Ref, ref Reference) model.Fetched {
	want := ref.Fetch
	spec := model.FetchSpec{
		Kind: want.Kind, URL: want.URL, SHA256: want.SHA256, Limit: want.Limit, Every: want.Every, Keep: want.Keep,
	}
	ok := true
	if want.CA != nil {
		spec.CA, ok = v.trusted(from, want.CA, cmp.Or(want.CAPath, ref.Path))
	}
	if want.Credentials != nil {
		text, good := v.credentials(from, want.Credentials, cmp.Or(want.CredentialsPath, ref.Path))
		spec.Credentials, ok = text, ok && good
	}
	if !ok {
		return model.Fetched{Error: "it refers to what cannot be used"}
	}
	key := model.NewFetch(spec)
	v.out.Fetches = append(v.out.Fetches, key)
	got, tried := incr.Get(v.r, v.t.Fetched, key)
	switch {
	case got.Stale != model.Stale{}:
		v.warn(ref.Path, reasonStale, fmt.Sprintf("%s cannot be fetched anew: %s. What it held at %s is used until %s, and "+
			"it is tried again", key, got.Stale.Error, stamp(got.Stale.Since), stamp(got.Stale.Until)))
	case want.Instead != "":
		if got.Error != "" {
			v.warn(ref.Path, reasonNotFetched, fmt.Sprintf("Sluice cannot fetch %s, and tries it again: %s. Until then %s",
				key, got.Error, want.Instead))
		}
	case !tried && v.t.opts.Fetches:
		v.out.Report = append(v.out.Report, status.Issue{
			Object: envoyPolicyRef(v.key.Kind, v.key.Own), Condition: status.Accepted, Reason: reasonPending,
			Path: ref.Path, Message: fmt.Sprintf("%s is being fetched", key),
		})
	case got.Error != "":
		v.issue(ref.Path, fmt.Sprintf("%s cannot be fetched, and is tried again: %s", key, got.Error))
	}
	return got
}

// warn notes something that the policy is accepted for all the same.
func (v *fieldResolver) warn(path, reason, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: envoyPolicyRef(v.key.Kind, v.key.Own), Condition: status.Warning, Reason: reason, Path: path,
		Message: message,
	})
}

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

// trusted returns the certificate authorities that an object holds, as PEM.
func (v *fieldResolver) trusted(from model.Ref, ref *ObjectReference, path string) (string, bool) {
	name := gwv1.ObjectReference{
		Group: gwv1.Group(ref.Group), Kind: gwv1.Kind(cmp.Or(ref.Kind, model.KindSecret)), Name: gwv1.ObjectName(ref.Name),
	}
	if ref.Namespace != "" {
		namespace := gwv1.Namespace(ref.Namespace)
		name.Namespace = &namespace
	}
	to := bundleRef(name, from.Namespace)
	refuse := func(message string) (string, bool) {
		v.issue(path, message)
		return "", false
	}
	switch {
	case !holdsBundles(to):
		return refuse(wrongBundleKind(to))
	case to.Kind != model.KindClusterTrustBundle && !v.t.granted(v.r, from, to):
		return refuse(v.t.unseen(v.r, to, notGranted(from, to)))
	}
	found, ok := v.t.bundle(v.r, to)
	switch {
	case !ok:
		return refuse(fmt.Sprintf("%s does not exist", to))
	case found.Problem != "":
		return refuse(fmt.Sprintf("%s is not valid: %s", to, found.Problem))
	}
	var out bytes.Buffer
	for _, der := range found.Certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.String(), true
}

// credentials returns the Docker config.json that a Secret holds.
func (v *fieldResolver) credentials(from model.Ref, ref *ObjectReference, path string) (string, bool) {
	found, _, message := v.t.object(v.r, from, ref)
	text, has := found.Data[corev1.DockerConfigJsonKey]
	switch {
	case message != "":
	case found.Ref.Kind != model.KindSecret:
		message = fmt.Sprintf("%s is not a Secret: credentials are read from Secrets only", found.Ref)
	case !has:
		message = fmt.Sprintf("%s has no key %s: make it with kubectl create secret docker-registry",
			found.Ref, corev1.DockerConfigJsonKey)
	default:
		return string(text), true
	}
	v.issue(path, message)
	return "", false
}
