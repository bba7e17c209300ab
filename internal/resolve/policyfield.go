package resolve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// policyFields is what a policy of Envoy Gateway, or two that are merged, ask of features.
type policyFields struct {
	// Attached is what can be applied.
	Attached []model.Attached
	// Denied says that something that guards cannot be applied: why, for a [model.Fault]; else empty.
	Denied string
	// Unguarded are the features that guard and cannot be applied; empty if it is the policy as a whole that cannot.
	Unguarded []string
	// Report is what is wrong.
	Report status.Report
	// Mentions are the backends that it refers to, if it may, whether or not they can be used.
	Mentions []model.BackendKey
	// Fetches are what it wants to be fetched.
	Fetches []model.Fetch
}

// mergedKey is a policy, and the one that it is merged with; Parent is empty for none.
type mergedKey struct {
	Kind        string
	Own, Parent model.Name
}

// Compare orders by kind, policy and the one that it is merged with.
func (k mergedKey) Compare(o mergedKey) int {
	return cmp.Or(strings.Compare(k.Kind, o.Kind), k.Own.Compare(o.Own), k.Parent.Compare(o.Parent))
}

// fieldResolver resolves the fields of a policy.
type fieldResolver struct {
	t   *Tables
	r   *incr.Reader
	key mergedKey
	out policyFields
}

// fieldsOf returns what a policy asks for, merged with another if the key has one.
func (t *Tables) fieldsOf(r *incr.Reader, key mergedKey) *policyFields {
	if key.Parent == (model.Name{}) {
		out, ok := incr.Get(r, t.policyFields, envoyPolicyRef(key.Kind, key.Own))
		if !ok {
			return &policyFields{}
		}
		return out
	}
	return t.resolveFields(r, key)
}

// deniedFields is what a policy asks for if a bug keeps that from being known: what it asked for before or, if it is
// new, that all requests are denied.
func deniedFields(_ *incr.Reader, ref model.Ref, last *policyFields, had bool) (*policyFields, bool) {
	if had {
		return last, true
	}
	return &policyFields{Denied: "Failed" + ref.Kind}, true
}

func (t *Tables) resolveFields(r *incr.Reader, key mergedKey) *policyFields {
	v := &fieldResolver{t: t, r: r, key: key}
	if own, _ := t.envoyPolicy(r, envoyPolicyRef(key.Kind, key.Own)); own.unreadable() {
		v.issue("spec", "It could not be read: what it guards is answered with 500 until it can")
		v.out.Denied = "Unreadable" + key.Kind
		return &v.out
	}
	list, err := t.mergedFields(r, key)
	if err != nil {
		v.issue("spec.mergeType", fmt.Sprintf("It cannot be merged with %s/%s: %v", key.Kind, key.Parent, err))
		if guardsAsKind(key.Kind) {
			v.out.Denied = "Invalid" + key.Kind
		}
		return &v.out
	}
	if parent, _ := t.envoyPolicy(r, envoyPolicyRef(key.Kind, key.Parent)); parent.unreadable() {
		v.out.Denied = "Unreadable" + key.Kind
	}
	for i := range list {
		list[i] = v.references(list[i])
	}
	v.check(list)
	for _, a := range list {
		switch {
		case !a.Broken:
			v.out.Attached = append(v.out.Attached, a)
		case t.opts.Opens != nil && t.opts.Opens(a):
		case t.guardsField(a.Feature):
			v.out.Denied = "Invalid" + key.Kind
			v.out.Unguarded = append(v.out.Unguarded, a.Feature)
		}
	}
	return &v.out
}

// mergedFields returns the fields of a policy, merged with those of another if the key has one. It looks at nothing
// that they refer to.
func (t *Tables) mergedFields(r *incr.Reader, key mergedKey) ([]model.Attached, error) {
	own, ok := t.envoyPolicy(r, envoyPolicyRef(key.Kind, key.Own))
	if !ok {
		return nil, nil
	}
	var below []asked
	spec, of := own.Spec, func(string) model.Name { return key.Own }
	if parent, ok := t.envoyPolicy(r, envoyPolicyRef(key.Kind, key.Parent)); ok && key.Parent != (model.Name{}) {
		merged, err := mergeSpecs(key.Kind, parent.Spec, own.Spec, own.Merge)
		if err != nil {
			return nil, err
		}
		written := takeApart(own.Spec)
		below = takeApart(parent.Spec)
		spec, of = merged, func(field string) model.Name {
			if slices.ContainsFunc(written, func(a asked) bool { return a.Name == field }) {
				return key.Own
			}
			return key.Parent
		}
	}
	var out []model.Attached
	for _, field := range takeApart(spec) {
		a := model.Attached{
			Feature: featureOf(key.Kind, field.Name), Spec: field.Value, Path: "spec." + field.Name,
			Source: envoyPolicyRef(key.Kind, of(field.Name)),
		}
		i := slices.IndexFunc(below, func(b asked) bool { return b.Name == field.Name })
		if i >= 0 && a.Source.Name == key.Own {
			a.Under = &model.Under{
				Spec: below[i].Value, Source: envoyPolicyRef(key.Kind, key.Parent), Strategic: own.Merge != egv1a1.JSONMerge,
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// mergeSpecs returns the spec of a policy merged into that of another of its kind. Neither is changed.
func mergeSpecs(kind string, parent, own any, how egv1a1.MergeType) (any, error) {
	original, err := json.Marshal(parent)
	if err != nil {
		return nil, fmt.Errorf("encode the policy that is merged with: %w", err)
	}
	patch, err := json.Marshal(own)
	if err != nil {
		return nil, fmt.Errorf("encode the policy: %w", err)
	}
	out := newSpec(kind)
	var merged []byte
	if how == egv1a1.JSONMerge {
		merged, err = jsonpatch.MergePatch(original, patch)
	} else {
		merged, err = strategicpatch.StrategicMergePatch(original, patch, reflect.ValueOf(out).Elem().Interface())
	}
	if err != nil {
		return nil, fmt.Errorf("merge (%s): %w", how, err)
	}
	if err := json.Unmarshal(merged, out); err != nil {
		return nil, fmt.Errorf("read what was merged: %w", err)
	}
	return out, nil
}

// issue notes that the policy is not valid.
func (v *fieldResolver) issue(path, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: envoyPolicyRef(v.key.Kind, v.key.Own), Condition: status.Accepted,
		Reason: string(gwv1.PolicyReasonInvalid), Path: path, Message: message,
	})
}

// references resolves what a field refers to, in the namespace of the policy that it was written in.
func (v *fieldResolver) references(a model.Attached) model.Attached {
	if v.t.opts.References == nil {
		return a
	}
	refs := v.t.opts.References(a)
	for i := 0; i < len(refs); i++ {
		ref, broken := refs[i], false
		switch {
		case ref.Backend != nil || ref.URL != "":
			key := v.backend(a.Source, ref)
			a.Backends = append(a.Backends, key)
			// What an EnvoyProxy reports to several services it reports to those that are there.
			broken = key == (model.BackendKey{}) && v.key.Kind != model.KindEnvoyProxy
		case ref.Object != nil:
			object := v.object(a.Source, ref)
			a.Objects = append(a.Objects, object)
			broken = object.Data == nil
		case ref.Fetch != nil:
			fetched := v.fetched(a.Source, ref)
			a.Fetched = append(a.Fetched, fetched)
			broken = fetched.Data == nil && ref.Fetch.Instead == ""
			refs = v.t.opts.References(a) // what was fetched can say what the others are
		}
		a.Broken = a.Broken || broken && !ref.Optional
	}
	a.Broken = v.unlike(&a, refs) || a.Broken
	return v.trust(a)
}

// unlike notes why backends cannot share requests that are to: they become one cluster, of which Envoy chooses an
// endpoint by their weights.
func (v *fieldResolver) unlike(a *model.Attached, refs []Reference) bool {
	before, next := len(v.out.Report), 0
	first := map[string]model.Backend{}
	for _, ref := range refs {
		if ref.Backend == nil && ref.URL == "" {
			continue
		}
		key := a.Backends[next].Shared()
		next++
		if ref.Among == "" || key == (model.BackendKey{}) {
			continue
		}
		found, _ := v.t.backend(v.r, key)
		other, ok := first[ref.Among]
		switch {
		case found.Address != model.AddressIP:
			v.issue(ref.Path, fmt.Sprintf("%s cannot share requests with other backends: its endpoints are not IP addresses. "+
				"Make it the only one, or name a Service or a Backend with ip endpoints", key.Ref()))
		case !ok:
			first[ref.Among] = found
		case !found.Alike(&other):
			v.issue(ref.Path, fmt.Sprintf("%s cannot share requests with %s, which is spoken to in another way: give them "+
				"the same protocol and the same TLS", key.Ref(), other.Key.Ref()))
		}
	}
	return len(v.out.Report) > before
}

// trust resolves the CA certificates that a field refers to, and what is revoked of them.
func (v *fieldResolver) trust(a model.Attached) model.Attached {
	var bundles, lists []model.Ref
	for _, ref := range v.t.opts.References(a) {
		if ref.Authority == nil && ref.Revoked == nil {
			continue
		}
		to, problem := v.t.trustObject(v.r, a.Source, ref)
		switch {
		case problem != "":
			v.issue(ref.Path, problem)
			a.Broken = true
		case ref.Authority != nil:
			bundles = append(bundles, to)
		default:
			lists = append(lists, to)
		}
	}
	if !a.Broken && len(bundles) > 0 {
		a.Trust = model.TrustIn(bundles).But(lists)
	}
	return a
}

func (v *fieldResolver) backend(from model.Ref, ref Reference) model.BackendKey {
	var key model.BackendKey
	if ref.Backend == nil {
		key = v.server(ref)
	} else {
		key = v.service(from, ref)
	}
	if key != (model.BackendKey{}) && ref.Settings != nil {
		key.Settings = model.Settings(v.key.Kind, v.key.Own, v.key.Parent, ref.Path)
		inline := settingsOf(ref, from)
		v.check(inline)
	}
	return key
}

// service returns the backend that a field names as an object.
func (v *fieldResolver) service(from model.Ref, ref Reference) model.BackendKey {
	found := v.t.backendOf(v.r, from, ref.Backend, ref.Use)
	if found.Mention != (model.BackendKey{}) {
		v.out.Mentions = append(v.out.Mentions, found.Mention)
	}
	if found.Reason != "" {
		v.issue(ref.Path, found.Message)
	}
	return found.key()
}

// object returns an object that a field refers to.
func (v *fieldResolver) object(from model.Ref, ref Reference) model.Object {
	found, _, message := v.t.object(v.r, from, ref.Object)
	if message != "" {
		v.issue(ref.Path, message)
	}
	return found
}

// check asks the features what they refuse, and marks that as broken. What is broken already is not theirs to see.
func (v *fieldResolver) check(list []model.Attached) {
	if v.t.opts.CheckAttached == nil {
		return
	}
	var whole []model.Attached
	for _, a := range list {
		if !a.Broken {
			whole = append(whole, a)
		}
	}
	for _, problem := range v.t.opts.CheckAttached(whole) {
		v.issue(problem.Path, problem.Message)
		for i := range list {
			list[i].Broken = list[i].Broken || inside(problem.Path, list[i].Path)
		}
	}
}

// inside reports whether a field is part of another, or the same.
func inside(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// settingsOf returns the settings beside a backend reference, as a BackendTrafficPolicy would have them.
func settingsOf(ref Reference, source model.Ref) []model.Attached {
	path := "backendSettings"
	if i := strings.LastIndex(ref.Path, "."); i >= 0 {
		path = ref.Path[:i+1] + path
	}
	var out []model.Attached
	for _, field := range takeApart(ref.Settings) {
		out = append(out, model.Attached{
			Feature: featureOf(model.KindBackendTrafficPolicy, field.Name), Spec: field.Value,
			Path: path + "." + field.Name, Source: source,
		})
	}
	return out
}

// guardsField says whether requests fail while a field of a policy cannot be applied: if its feature is a guard, or if
// this version has none for it and the field may be one.
func (t *Tables) guardsField(feature string) bool {
	if t.opts.Guards != nil && t.opts.Guards(feature) {
		return true
	}
	kind, _, _ := strings.Cut(feature, ".")
	return guardsAsKind(kind) || feature == featureOf(model.KindBackendTrafficPolicy, "rateLimit") ||
		feature == featureOf(model.KindClientTrafficPolicy, "tls")
}

// guardsAsKind says whether every field of a kind of policy keeps requests away from backends.
func guardsAsKind(kind string) bool {
	return kind == model.KindSecurityPolicy || kind == model.KindEnvoyExtensionPolicy
}
