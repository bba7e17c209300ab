package resource

import (
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
)

// ruleTree has the CEL rules of a schema (x-kubernetes-validations) in the shape of the schema, as the API server
// compiles them. It tells quickly whether an object satisfies all of them, which is what nearly every object does. What
// is wrong with one that does not is for the API server's own validator to say: that takes several times as long, since
// it makes a map of all properties of an object whenever a rule looks at one.
type ruleTree struct {
	outline    *outline
	rules      []cel.CompilationResult
	items      *ruleTree
	additional *ruleTree
	properties map[string]*ruleTree
}

// newRuleTree returns nil if the schema has no rules, and ok is false if it has some that a ruleTree does not check.
func newRuleTree(s *structuralschema.Structural) (tree *ruleTree, ok bool) {
	c := ruleCompiler{envs: environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), ok: true}
	root := model.WithTypeAndObjectMeta(s)
	tree = c.compile(s, newOutline(root), model.SchemaDeclType(s, true))
	return tree, c.ok
}

// ruleCompiler compiles the rules of a schema.
type ruleCompiler struct {
	envs *environment.EnvSet
	// ok is false once there is something that a ruleTree does not check.
	ok bool
}

// compile returns nil where there are no rules. declared is the type that rules see, nil for what they do not.
func (c *ruleCompiler) compile(s *structuralschema.Structural, o *outline, declared *apiservercel.DeclType) *ruleTree {
	out := &ruleTree{outline: o, rules: c.own(s, declared), properties: map[string]*ruleTree{}}
	var element *apiservercel.DeclType
	if declared != nil {
		element = declared.ElemType
	}
	if s.Items != nil {
		out.items = c.compile(s.Items, o.items, element)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		out.additional = c.compile(s.AdditionalProperties.Structural, o.additional.outline, element)
	}
	for name, property := range s.Properties {
		if tree := c.property(name, &property, o, declared); tree != nil {
			out.properties[name] = tree
		}
	}
	if len(out.rules) == 0 && out.items == nil && out.additional == nil && len(out.properties) == 0 {
		return nil
	}
	return out
}

// own compiles the rules of the schema itself.
func (c *ruleCompiler) own(s *structuralschema.Structural, declared *apiservercel.DeclType) []cel.CompilationResult {
	rules, err := cel.Compile(s, declared, celconfig.PerCallLimit, c.envs, cel.StoredExpressionsEnvLoader())
	c.ok = c.ok && err == nil && !s.XEmbeddedResource && !conjunctsHaveRules(s.ValueValidation)
	for i, rule := range rules {
		optional := s.XValidations[i].OptionalOldSelf
		c.ok = c.ok && rule.Error == nil && rule.Program != nil && (optional == nil || !*optional)
	}
	return rules
}

func (c *ruleCompiler) property(
	name string, s *structuralschema.Structural, o *outline, declared *apiservercel.DeclType,
) *ruleTree {
	escaped, ok := apiservercel.Escape(name)
	if !ok {
		// Rules cannot name it, but it can have rules.
		if declared = model.SchemaDeclType(s, s.XEmbeddedResource); declared == nil {
			return nil
		}
		return c.compile(s, o.properties[name].(*outline), declared)
	}
	if declared == nil || declared.Fields[escaped] == nil {
		return nil
	}
	return c.compile(s, o.properties[name].(*outline), declared.Fields[escaped].Type)
}

// conjunctsHaveRules reports whether there are rules in allOf.
func conjunctsHaveRules(v *structuralschema.ValueValidation) bool {
	return v != nil && slices.ContainsFunc(v.AllOf, func(n structuralschema.NestedValueValidation) bool {
		return nestedHasRules(&n)
	})
}

func nestedHasRules(n *structuralschema.NestedValueValidation) bool {
	if n == nil {
		return false
	}
	for _, property := range n.Properties {
		if nestedHasRules(&property) {
			return true
		}
	}
	return len(n.XValidations) > 0 || nestedHasRules(n.Items) || nestedHasRules(n.AdditionalProperties) ||
		conjunctsHaveRules(&n.ValueValidation)
}

// hold reports whether a value surely satisfies all rules, of what there is left of the API server's budget of cost.
func (t *ruleTree) hold(value any, budget *int64) bool {
	if t == nil || value == nil {
		return true
	}
	if !t.ownHold(value, budget) {
		return false
	}
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			if !t.items.hold(v, budget) {
				return false
			}
		}
	case map[string]any:
		for name, v := range value {
			if !t.additional.hold(v, budget) || !t.properties[name].hold(v, budget) {
				return false
			}
		}
	}
	return true
}

// ownHold is hold for the rules of the value itself.
func (t *ruleTree) ownHold(value any, budget *int64) bool {
	if len(t.rules) == 0 {
		return true
	}
	self := activation{common.UnstructuredToVal(value, t.outline)}
	for _, rule := range t.rules {
		if rule.UsesOldSelf {
			continue // There is no object before: it is as if each were created.
		}
		result, details, err := rule.Program.Eval(self)
		if err != nil || result != types.True || details == nil || details.ActualCost() == nil {
			return false
		}
		*budget -= int64(*details.ActualCost()) //nolint:gosec // a call may cost celconfig.PerCallLimit at most
		if *budget < 0 {
			return false
		}
	}
	return true
}

// activation gives rules the value that they are about.
type activation struct{ self any }

// ResolveName knows the one variable that there is.
func (a activation) ResolveName(name string) (any, bool) { return a.self, name == cel.ScopedVarName }

// Parent is nil: there are no variables outside.
func (a activation) Parent() interpreter.Activation { return nil }

// outline is a schema as rules see it, laid out once.
type outline struct {
	*model.Structural

	items      *outline
	additional *additionalOutline
	properties map[string]common.Schema
}

// additionalOutline is the schema of additional properties.
type additionalOutline struct {
	model.StructuralOrBool

	outline *outline
}

func newOutline(s *structuralschema.Structural) *outline {
	out := &outline{Structural: &model.Structural{Structural: s}}
	if s.Items != nil {
		out.items = newOutline(s.Items)
	}
	if a := s.AdditionalProperties; a != nil {
		out.additional = &additionalOutline{StructuralOrBool: model.StructuralOrBool{StructuralOrBool: a}}
		if a.Structural != nil {
			out.additional.outline = newOutline(a.Structural)
		}
	}
	if s.Properties != nil {
		out.properties = make(map[string]common.Schema, len(s.Properties))
		for name, property := range s.Properties {
			out.properties[name] = newOutline(&property)
		}
	}
	return out
}

// Items is the schema of a list's items.
func (o *outline) Items() common.Schema {
	if o.items == nil {
		return nil
	}
	return o.items
}

// Properties are the schemas of an object's properties.
func (o *outline) Properties() map[string]common.Schema { return o.properties }

// AdditionalProperties is the schema of a map's values.
func (o *outline) AdditionalProperties() common.SchemaOrBool {
	if o.additional == nil {
		return nil
	}
	return o.additional
}

// Schema is that of the values.
func (a *additionalOutline) Schema() common.Schema {
	if a.outline == nil {
		return nil
	}
	return a.outline
}
