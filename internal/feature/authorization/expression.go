package authorization

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/expr"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"github.com/google/cel-go/cel"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature/predicate"
)

// attributes are those of Envoy that are known before a request is answered.
var attributes = []string{
	"connection", "destination", "filter_state", "metadata", "request", "source", "upstream", "xds",
}

// environment has Envoy's attributes. That a name is misspelt would else be known only when a request comes, and be no
// match: a rule that denies would let everybody in.
var environment = newEnvironment()

// newEnvironment panics on what is a mistake in the program.
func newEnvironment() *cel.Env {
	var options []cel.EnvOption
	for _, name := range attributes {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		panic(fmt.Sprintf("authorization: the environment of expressions: %v", err))
	}
	return env
}

// parse returns an expression as Envoy takes it: parsed, because it has no parser of its own.
func parse(text string) (*expr.ParsedExpr, error) {
	ast, issues := environment.Parse(text)
	if issues.Err() != nil {
		return nil, firstLine(issues.Err())
	}
	checked, issues := environment.Check(ast)
	if issues.Err() != nil {
		return nil, firstLine(issues.Err())
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("its value is of type %v, and has to be true or false", out)
	}
	parsed, err := cel.AstToParsedExpr(ast)
	if err != nil {
		return nil, fmt.Errorf("encode the expression: %w", err)
	}
	// The message has the same fields in two packages.
	wire, err := proto.Marshal(parsed)
	if err != nil {
		return nil, fmt.Errorf("encode the expression: %w", err)
	}
	out := &expr.ParsedExpr{}
	if err := proto.Unmarshal(wire, out); err != nil {
		return nil, fmt.Errorf("encode the expression: %w", err)
	}
	return out, nil
}

// firstLine leaves out the picture of where the mistake is.
func firstLine(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}

// expression holds if the expression is true.
func expression(parsed *expr.ParsedExpr) *predicate.Predicate {
	return predicate.Custom("cel", &xdsmatcherv3.HttpAttributesCelMatchInput{}, &xdsmatcherv3.CelMatcher{
		ExprMatch: &xdstypev3.CelExpression{CelExprParsed: parsed},
	})
}
