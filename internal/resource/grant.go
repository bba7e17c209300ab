package resource

import (
	"cmp"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Grant is one permission that a ReferenceGrant gives: objects of a kind in a namespace may refer to something in
// another one.
type Grant struct {
	// From has no name: grants are for all objects of a kind in a namespace.
	From model.Ref
	// To has no name if the grant is for all objects of the kind.
	To model.Ref
}

// Compare orders grants by who gets them, then for what.
func (g Grant) Compare(o Grant) int { return cmp.Or(g.From.Compare(o.From), g.To.Compare(o.To)) }

// Grants returns the permissions that a ReferenceGrant gives.
func Grants(g *gwv1.ReferenceGrant) []Grant {
	var out []Grant
	for _, from := range g.Spec.From {
		for _, to := range g.Spec.To {
			grant := Grant{
				From: model.Ref{
					Group: string(from.Group), Kind: string(from.Kind), Name: model.Name{Namespace: string(from.Namespace)},
				},
				To: model.Ref{Group: string(to.Group), Kind: string(to.Kind), Name: model.Name{Namespace: g.Namespace}},
			}
			if to.Name != nil {
				grant.To.Name.Name = string(*to.Name)
			}
			out = append(out, grant)
		}
	}
	return out
}

// Permitting returns the grants either of which lets an object refer to one of another namespace. A reference within a
// namespace needs none.
func Permitting(from, to model.Ref) [2]Grant {
	from.Name.Name = ""
	whole := to
	whole.Name.Name = ""
	return [2]Grant{{From: from, To: to}, {From: from, To: whole}}
}
