package resolve

import (
	"fmt"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// tlsPolicy is a BackendTLSPolicy, resolved.
type tlsPolicy struct {
	// TLS is nil if the policy cannot be applied: then what it is meant to secure must not be connected to.
	TLS *model.BackendTLS
	// Report holds what is wrong with it, but for its conflicts with other policies.
	Report status.Report
}

// guard is what the routes to a backend need to know of its policy.
type guard struct {
	// Policy is the BackendTLSPolicy that governs the backend, empty if none does.
	Policy model.Name
	// Own says that the backend itself asks for TLS.
	Own bool
	// Broken says that the policy, or what the backend asks for, cannot be applied, so that requests must fail rather than
	// be sent in cleartext.
	Broken bool
}

// sectionGuard is the guard of a section of an object.
type sectionGuard struct {
	Section string
	guard
}

func (t *Tables) addTLSPolicies(e *incr.Engine) {
	attached := attachPolicies(e, "backendtlspolicy", t.in.backendTLS, tlsTargets)
	t.tlsHolders = attached.holders
	t.tlsPolicies = incr.NewTable(e, "backendtlspolicies", t.tlsPolicy, t.in.backendTLS)
	// Routes read this and not the policies themselves: another CA or host name reaches no route.
	t.guards = incr.NewTable(e, "backend guards", func(r *incr.Reader, key model.Ref) ([]sectionGuard, bool) {
		held, ok := incr.Get(r, t.tlsHolders, key)
		out := make([]sectionGuard, len(held))
		for i, h := range held {
			p, _ := incr.Get(r, t.tlsPolicies, h.Policy)
			out[i] = sectionGuard{h.Section, guard{Policy: h.Policy, Broken: p == nil || p.TLS == nil}}
		}
		return out, ok
	}, t.tlsHolders)
}

// tlsTargets are the targets of a BackendTLSPolicy.
func tlsTargets(key model.Name, p *gwv1.BackendTLSPolicy) []policyTarget {
	out := make([]policyTarget, len(p.Spec.TargetRefs))
	for i, ref := range p.Spec.TargetRefs {
		out[i] = localTarget(ref, key.Namespace)
	}
	return out
}

// guarded returns the guard of a backend. There is no TLS over datagrams, so UDP has none.
func (t *Tables) guarded(r *incr.Reader, key model.BackendKey) guard {
	if key.Use == model.AppUDP {
		return guard{}
	}
	out := t.policyGuard(r, key)
	if own, ok := incr.Get(r, t.ownGuards, key.Ref()); ok {
		out.Own = true
		out.Broken = out.Broken || own.Broken || !own.Trusting && out.Policy == (model.Name{})
	}
	return out
}

// policyGuard returns the guard of a backend as far as policies say.
func (t *Tables) policyGuard(r *incr.Reader, key model.BackendKey) guard {
	guards, ok := incr.Get(r, t.guards, key.Ref())
	if !ok {
		return guard{}
	}
	name, understood := t.governor(r, key)
	for _, g := range guards {
		if g.Policy == name {
			return guard{Policy: name, Broken: g.Broken || !understood}
		}
	}
	return guard{}
}

// backendTLS returns how connections to a backend are secured, nil for cleartext, or that they must not be made.
func (t *Tables) backendTLS(r *incr.Reader, key model.BackendKey) (tls *model.BackendTLS, barred bool) {
	g := t.guarded(r, key)
	if g == (guard{}) || g.Broken {
		return nil, g.Broken
	}
	own, has := incr.Get(r, t.ownTLS, key.Ref())
	if g.Policy == (model.Name{}) {
		return own.TLS, false
	}
	p, ok := incr.Get(r, t.tlsPolicies, g.Policy)
	switch {
	case !ok || p.TLS == nil:
		return nil, true
	case has:
		return own.underPolicy(p.TLS), false
	}
	return p.TLS, false
}

// tlsResolver resolves one BackendTLSPolicy, or what a backend says itself.
type tlsResolver struct {
	t *Tables
	r *incr.Reader
	// ref is the object, path the field that says what to verify.
	ref  model.Ref
	path string
	out  tlsPolicy
	// refused is set once it cannot be applied.
	refused bool
}

func (t *Tables) tlsPolicy(r *incr.Reader, key model.Name) (*tlsPolicy, bool) {
	p, ok := incr.Get(r, t.in.backendTLS, key)
	if !ok {
		return nil, false
	}
	v := &tlsResolver{t: t, r: r, ref: tlsPolicyRef(key), path: "spec.validation"}
	for i, target := range tlsTargets(key, p) {
		v.target(fmt.Sprintf("spec.targetRefs[%d]", i), target)
	}
	tls := v.validated(&p.Spec.Validation)
	if len(p.Spec.Options) > 0 {
		v.refuse(string(gwv1.PolicyReasonInvalid), "spec.options", "No TLS options are supported: remove them")
	}
	if !v.refused {
		v.out.TLS = tls
	}
	return &v.out, true
}

// validated resolves what to ask a backend for, and what its certificate has to be like.
func (v *tlsResolver) validated(spec *gwv1.BackendTLSPolicyValidation) *model.BackendTLS {
	return &model.BackendTLS{SNI: strings.ToLower(string(spec.Hostname)), Trust: v.trust(spec), Names: subjectNames(spec)}
}

func (v *tlsResolver) issue(condition, reason, path, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: v.ref, Condition: condition, Reason: reason, Path: path, Message: message,
	})
}

// refuse notes an issue because of which nothing can be applied.
func (v *tlsResolver) refuse(reason, path, message string) {
	v.issue(status.Accepted, reason, path, message)
	v.refused = true
}

// tlsPolicyRef is the reference of a BackendTLSPolicy.
func tlsPolicyRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: model.KindBackendTLSPolicy, Name: name}
}

// target checks that there is what the policy is attached to. If there is not, the policy still holds for its other
// targets.
func (v *tlsResolver) target(path string, target policyTarget) {
	missing := func(path, message string) {
		v.issue(status.Accepted, string(gwv1.PolicyReasonTargetNotFound), path, message)
	}
	if !securable(target.Ref) {
		missing(path, fmt.Sprintf("%s of group %q is no backend that can be secured: use a Service, a Backend of group %s, "+
			"or an XBackend of group %s", target.Kind, target.Group, model.GroupEnvoyGateway, model.GroupGatewayX))
		return
	}
	sections, exists := v.t.sectionsOf(v.r, target.Ref)
	switch {
	case !exists:
		missing(path, fmt.Sprintf("%s does not exist", target.Ref))
	case target.Section == "":
	case !slices.Contains(sections, target.Section):
		missing(path+".sectionName", noSection(target, sections))
	case target.Kind != model.KindService:
		if _, understood := v.t.governor(v.r, model.BackendKey{Kind: target.Kind, Name: target.Name}); !understood {
			v.issue(status.Accepted, string(gwv1.PolicyReasonInvalid), path+".sectionName", fmt.Sprintf(
				"The endpoints of %s have the ports %s, and policies do not say the same of all of them: requests to it fail. "+
					"Use a Backend for each port, or remove the section name", target.Ref, strings.Join(sections, ", ")))
		}
	}
}

// trust resolves who may sign the backend's certificate.
func (v *tlsResolver) trust(spec *gwv1.BackendTLSPolicyValidation) model.Trust {
	if len(spec.CACertificateRefs) == 0 {
		return v.wellKnown(v.path, deref(spec.WellKnownCACertificates, ""))
	}
	return v.bundles(v.path, spec.CACertificateRefs)
}

// bundles returns the trust in CA bundles. Bad references are left out as long as there is a good one.
func (v *tlsResolver) bundles(within string, refs []gwv1.LocalObjectReference) model.Trust {
	var bundles []model.Ref
	for i, ref := range refs {
		path := fmt.Sprintf("%s.caCertificateRefs[%d]", within, i)
		to := localBundle(ref, v.ref.Namespace)
		if !holdsBundles(to) {
			v.issue(status.ResolvedRefs, status.ReasonInvalidKind, path, wrongBundleKind(to))
			continue
		}
		if problem := v.t.bundleProblem(v.r, to); problem != "" {
			v.issue(status.ResolvedRefs, string(gwv1.BackendTLSPolicyReasonInvalidCACertificateRef), path, problem)
			continue
		}
		bundles = append(bundles, to)
	}
	if len(bundles) == 0 {
		v.refuse(string(gwv1.BackendTLSPolicyReasonNoValidCACertificate), within+".caCertificateRefs",
			"None of the CA certificates is valid: requests to the targets fail")
	}
	return model.TrustIn(bundles)
}

func (v *tlsResolver) wellKnown(within string, name gwv1.WellKnownCACertificatesType) model.Trust {
	path := within + ".wellKnownCACertificates"
	switch {
	case name != gwv1.WellKnownCACertificatesSystem:
		v.refuse(string(gwv1.PolicyReasonInvalid), path,
			fmt.Sprintf("%q is not known: use System, or caCertificateRefs", name))
	case v.t.opts.SystemCAs == "":
		v.refuse(string(gwv1.PolicyReasonInvalid), path,
			"There are no CA certificates on the proxy's system: install them (ca-certificates), or use caCertificateRefs")
	}
	return model.SystemTrust
}

// subjectNames are what the backend's certificate has to be for: the hostname, unless names are given.
func subjectNames(spec *gwv1.BackendTLSPolicyValidation) []model.SubjectName {
	if len(spec.SubjectAltNames) == 0 {
		return []model.SubjectName{{Value: strings.ToLower(string(spec.Hostname))}}
	}
	out := make([]model.SubjectName, len(spec.SubjectAltNames))
	for i, san := range spec.SubjectAltNames {
		if san.Type == gwv1.URISubjectAltNameType {
			out[i] = model.SubjectName{URI: true, Value: string(san.URI)}
		} else {
			out[i] = model.SubjectName{Value: strings.ToLower(string(san.Hostname))}
		}
	}
	return out
}
