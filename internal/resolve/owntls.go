package resolve

import (
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// ownTLS is how a Backend or an XBackend asks to be connected to (spec.tls). A BackendTLSPolicy comes before it.
type ownTLS struct {
	// TLS is nil if it cannot be applied: then the backend must not be connected to.
	TLS *model.BackendTLS
	// Trusting says that TLS verifies certificates and knows whom to trust, or does not verify them. Otherwise it takes a
	// policy to say that.
	Trusting bool
	// Report holds what is wrong.
	Report status.Report
}

func (t *Tables) addOwnTLS(e *incr.Engine) {
	backends := incr.NewIndex(e, "backends with tls", t.in.backends, func(key model.Name, b *egv1a1.Backend) []model.Ref {
		if b.Spec.TLS == nil {
			return nil
		}
		return []model.Ref{backendObjectRef(key)}
	})
	xbackends := incr.NewIndex(e, "xbackends with tls", t.in.xbackends,
		func(key model.Name, b *gwxv1a1.XBackend) []model.Ref {
			if b.Spec.TLS == nil || b.Spec.TLS.Mode == gwxv1a1.BackendTLSModeNone {
				return nil
			}
			return []model.Ref{xbackendRef(key)}
		})
	t.ownTLS = incr.NewTable(e, "tls of backends", t.resolveOwnTLS, backends, xbackends)
	// As with policies: another CA or host name reaches no route.
	t.ownGuards = incr.NewTable(e, "tls guards of backends", func(r *incr.Reader, key model.Ref) (ownGuard, bool) {
		own, ok := incr.Get(r, t.ownTLS, key)
		if !ok {
			return ownGuard{}, false
		}
		return ownGuard{Broken: own.TLS == nil, Trusting: own.Trusting}, true
	}, t.ownTLS)
}

// ownGuard is what routes need to know of an [ownTLS].
type ownGuard struct{ Broken, Trusting bool }

func backendObjectRef(name model.Name) model.Ref {
	return model.BackendKey{Kind: model.KindBackend, Name: name}.Ref()
}

func (t *Tables) resolveOwnTLS(r *incr.Reader, key model.Ref) (*ownTLS, bool) {
	v := &tlsResolver{t: t, r: r, ref: key, path: "spec.tls"}
	tls, trusting := &model.BackendTLS{}, true
	if key.Kind == model.KindXBackend {
		b, ok := incr.Get(r, t.in.xbackends, key.Name)
		if !ok || b.Spec.TLS == nil {
			return nil, false
		}
		v.path = "spec.tls.validation"
		if spec := b.Spec.TLS.Validation; spec != nil {
			tls = v.validated(spec)
		} else {
			v.refuse(string(gwv1.PolicyReasonInvalid), v.path, "Nothing says whom to trust: set it, or mode None")
		}
		v.client(tls, "spec.tls.clientCertificateRef", b.Spec.TLS.ClientCertificateRef)
	} else {
		b, ok := incr.Get(r, t.in.backends, key.Name)
		if !ok || b.Spec.TLS == nil {
			return nil, false
		}
		tls, trusting = v.backend(b.Spec.TLS)
	}
	out := &ownTLS{TLS: tls, Trusting: trusting, Report: v.out.Report}
	for i := range out.Report { // both kinds have but one condition, which has but this reason
		out.Report[i].Condition, out.Report[i].Reason = status.Accepted, string(egv1a1.BackendReasonInvalid)
	}
	if v.refused || len(v.out.Report) > 0 {
		out.TLS = nil
	}
	return out, true
}

// backend resolves spec.tls of a Backend, and says whether that says whom to trust.
func (v *tlsResolver) backend(spec *egv1a1.BackendTLSSettings) (*model.BackendTLS, bool) {
	out := &model.BackendTLS{Ask: model.AskHost, Insecure: deref(spec.InsecureSkipVerify, false)}
	switch {
	case spec.SNI != nil:
		out.Ask, out.SNI = model.AskFixed, strings.ToLower(string(*spec.SNI))
		out.Names = []model.SubjectName{{Value: out.SNI}}
	case deref(spec.AutoSNIFromEndpointHostname, false):
		out.Ask = model.AskEndpoint
	}
	trusting := true
	switch {
	case out.Insecure:
		out.Names = nil
	case len(spec.CACertificateRefs) > 0:
		out.Trust = v.bundles(v.path, spec.CACertificateRefs)
	case deref(spec.WellKnownCACertificates, "") != "":
		out.Trust = v.wellKnown(v.path, *spec.WellKnownCACertificates)
	default:
		trusting = false
	}
	if spec.BackendTLSConfig != nil {
		v.client(out, v.path+".clientCertificateRef", spec.ClientCertificateRef)
		out.Options = tlsOptions(&spec.TLSSettings, func(path, message string) {
			v.refuse(string(egv1a1.BackendReasonInvalid), v.path+path, message)
		})
	}
	return out, trusting
}

// client resolves the certificate that is shown to the backend.
func (v *tlsResolver) client(out *model.BackendTLS, path string, ref *gwv1.SecretObjectReference) {
	if ref == nil {
		return
	}
	to := secretRef(*ref, v.ref.Namespace)
	if reason, message := v.t.checkCertificate(v.r, v.ref, to); reason != "" {
		v.refuse(string(reason), path, message)
		return
	}
	out.Client = to.Name
}

// untrusting is what is wrong with TLS that nobody says whom to trust for.
const untrusting = "Nothing says whom to trust: set caCertificateRefs or wellKnownCACertificates, or attach a " +
	"BackendTLSPolicy"

// tlsReport is what is wrong with spec.tls of a backend. Whom to trust a policy can say, if it is there.
func (t *Tables) tlsReport(r *incr.Reader, key model.BackendKey) status.Report {
	own, ok := incr.Get(r, t.ownTLS, key.Ref())
	if !ok {
		return nil
	}
	if own.Trusting || t.guarded(r, key).Policy != (model.Name{}) {
		return own.Report
	}
	return append(slices.Clone(own.Report), status.Issue{
		Object: key.Ref(), Condition: status.Accepted, Reason: string(egv1a1.BackendReasonInvalid), Path: "spec.tls",
		Message: untrusting,
	})
}

// underPolicy returns what spec.tls of a backend says where a policy says the rest: whom to trust, what to ask for and
// what the certificate has to be for.
func (own *ownTLS) underPolicy(policy *model.BackendTLS) *model.BackendTLS {
	out := *policy
	out.Client, out.Options = own.TLS.Client, own.TLS.Options
	return &out
}

// ownBundles are the CA bundles that Backends and XBackends name.
func ownBundles(e *incr.Engine, in *inputs) (*incr.Index[model.Ref, model.Name, *egv1a1.Backend],
	*incr.Index[model.Ref, model.Name, *gwxv1a1.XBackend]) {
	local := func(refs []gwv1.LocalObjectReference, namespace string) []model.Ref {
		var out []model.Ref
		for _, ref := range refs {
			out = append(out, localBundle(ref, namespace))
		}
		return out
	}
	backends := incr.NewIndex(e, "bundles of backends", in.backends, func(key model.Name, b *egv1a1.Backend) []model.Ref {
		if b.Spec.TLS == nil {
			return nil
		}
		return local(b.Spec.TLS.CACertificateRefs, key.Namespace)
	})
	xbackends := incr.NewIndex(e, "bundles of xbackends", in.xbackends,
		func(key model.Name, b *gwxv1a1.XBackend) []model.Ref {
			if b.Spec.TLS == nil || b.Spec.TLS.Validation == nil {
				return nil
			}
			return local(b.Spec.TLS.Validation.CACertificateRefs, key.Namespace)
		})
	return backends, xbackends
}
