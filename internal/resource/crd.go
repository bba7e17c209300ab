package resource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/sluice-gateway/sluice/internal/resource/schema"
)

// crd is a custom resource as the API server sees it. It is compiled when the first object of the kind is decoded:
// that takes some tens of milliseconds for a route, and most configurations have few kinds.
type crd struct {
	once       sync.Once
	err        error
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	// rules are nil if there are none, or if only the validator can check them: then ruled is false.
	rules *ruleTree
	ruled bool
	// validator says what is wrong with an object that does not satisfy the rules, or may not.
	validator func() *cel.Validator
}

func (c *crd) compile(k *Kind) error {
	c.once.Do(func() { c.err = c.load(k) })
	return c.err
}

func (c *crd) load(k *Kind) error {
	data, err := schema.Of(k.Group, k.Plural, k.Version)
	if err != nil {
		return err
	}
	var external apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(data, &external); err != nil {
		return fmt.Errorf("schema of %s: %w", k.Kind, err)
	}
	var internal apiextensions.JSONSchemaProps
	err = apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&external, &internal, nil)
	if err != nil {
		return fmt.Errorf("schema of %s: %w", k.Kind, err)
	}
	if c.structural, err = structuralschema.NewStructural(&internal); err != nil {
		return fmt.Errorf("schema of %s: %w", k.Kind, err)
	}
	if c.schema, _, err = validation.NewSchemaValidator(&internal); err != nil {
		return fmt.Errorf("schema of %s: %w", k.Kind, err)
	}
	c.rules, c.ruled = newRuleTree(c.structural)
	c.validator = sync.OnceValue(func() *cel.Validator {
		return cel.NewValidator(c.structural, true, celconfig.PerCallLimit)
	})
	return nil
}

// admit does to an object what the API server does to a custom resource that is created: it fills in the defaults,
// removes unknown fields, whose paths it returns, and validates, in the API server's order.
func (c *crd) admit(obj map[string]any) (unknown []string, errs field.ErrorList) {
	defaulting.PruneNonNullableNullsWithoutDefaults(obj, c.structural)
	defaulting.Default(obj, c.structural)
	unknown = pruning.PruneWithOptions(obj, c.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	errs = validation.ValidateCustomResource(nil, obj, c.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, obj)...)
	if !blocksRules(errs) {
		errs = append(errs, c.broken(obj)...)
	}
	return unknown, errs
}

// broken returns the rules that an object does not satisfy.
func (c *crd) broken(obj map[string]any) field.ErrorList {
	budget := int64(celconfig.RuntimeCELCostBudget)
	if c.ruled && c.rules.hold(obj, &budget) {
		return nil
	}
	failed, _ := c.validator().Validate(context.Background(), nil, c.structural, obj, nil,
		celconfig.RuntimeCELCostBudget)
	return failed
}

// unplaced finds the field in the words of an error that the schema's validator gives no field: it is a number that its
// format has no room for, or a value that fits none of the alternatives.
var unplaced = regexp.MustCompile(`^"([^"]+)" must validate|^Checked value (must .*) in (\S+)$`)

// integers says of the formats of numbers what they can hold.
var integers = strings.NewReplacer(
	"of type integer with format int32", "a whole number, at most 2147483647",
	"of type integer with format int64", "a whole number, at most 9223372036854775807",
)

// placed gives each error its field. Of those without one that repeat what another error says of the same field, only
// the other is left.
func placed(errs field.ErrorList) field.ErrorList {
	known := map[string]bool{}
	for _, err := range errs {
		known[err.Field] = true
	}
	var out field.ErrorList
	for _, err := range errs {
		found := unplaced.FindStringSubmatch(err.Detail)
		if found == nil {
			out = append(out, err)
			continue
		}
		path := cmp.Or(found[1], found[3])
		if known[path] {
			continue
		}
		moved := *err
		moved.Field = path
		moved.Detail = cmp.Or(integers.Replace(found[2]), "must have one of the types and forms that the field can have")
		moved.BadValue = field.OmitValueType{}
		out = append(out, &moved)
	}
	return out
}

// blocksRules reports whether an object is so wrong that CEL rules cannot be evaluated on it.
func blocksRules(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany,
			field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
