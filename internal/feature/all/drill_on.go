//go:build drill

package all

import (
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/headermodifier"
	"github.com/sluice-gateway/sluice/internal/model"
)

// drilled returns the features for the drill about panics: that of ResponseHeaderModifier panics for filters that set
// the header x-panic, where the value says: when routes are checked, or when they are made.
func drilled(features []feature.Feature) []feature.Feature {
	for i, f := range features {
		if r, ok := f.(headermodifier.Response); ok {
			features[i] = panicking{r}
		}
	}
	return features
}

type panicking struct{ headermodifier.Response }

func (p panicking) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	panicAt(a, "check")
	return p.Response.Check(a, rule)
}

func (p panicking) ApplyRoute(r *feature.Route, a model.Attached) {
	panicAt(a, "apply")
	p.Response.ApplyRoute(r, a)
}

func panicAt(a model.Attached, where string) {
	for _, h := range a.Spec.(*gwv1.HTTPHeaderFilter).Set {
		if h.Name == "x-panic" && h.Value == where {
			panic("this is a drill")
		}
	}
}
