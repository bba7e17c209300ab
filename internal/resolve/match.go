package resolve

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// MaxRegexProgram is the size that a user's regular expression may have, counted as RE2 counts the instructions of its
// program. Envoy's own limit (runtime key re2.max_program_size.error_level, 100 by default) has to be above it: an
// expression that Envoy refuses costs a whole virtual host, one that is refused here only its rule.
const MaxRegexProgram = 900

// maxRegexBytes bounds the text, before it is parsed.
const maxRegexBytes = 4096

var everyPath = model.ValueMatch{Type: model.Prefix, Value: "/"}

// matchResolver resolves one match of a rule.
type matchResolver struct {
	*routeResolver
	path string
	// broken is set once the match cannot be expressed: it then matches nothing.
	broken bool
}

// eachMatch resolves the matches of the rule at hand, and says whether any of them is broken. Broken ones are left out:
// they match nothing. A rule without matches matches everything.
func eachMatch[T any](v *routeResolver, specs []T, resolve func(*matchResolver, *T) model.Match) ([]model.Match, bool) {
	if len(specs) == 0 {
		specs = make([]T, 1)
	}
	var out []model.Match
	broken := false
	for i := range specs {
		mv := &matchResolver{routeResolver: v, path: fmt.Sprintf("spec.rules[%d].matches[%d]", v.rule, i)}
		if m := resolve(mv, &specs[i]); !mv.broken {
			out = append(out, m)
		}
		broken = broken || mv.broken
	}
	return out, broken
}

// refuse notes that a value cannot be used, and with it the match.
func (v *matchResolver) refuse(path, message string) {
	v.issue(status.Accepted, status.ReasonUnsupportedValue, v.path+path, message)
	v.broken = true
}

func (v *matchResolver) regex(path, expr string) model.ValueMatch {
	if err := CheckRegex(expr); err != nil {
		v.refuse(path, err.Error())
	}
	return model.ValueMatch{Type: model.Regex, Value: expr}
}

// value resolves the match of a header or a query parameter, whose types have the same names.
func (v *matchResolver) value(path, typ, value string) model.ValueMatch {
	switch typ {
	case string(gwv1.HeaderMatchExact):
	case string(gwv1.HeaderMatchRegularExpression):
		return v.regex(path+".value", value)
	default:
		v.refuse(path+".type", fmt.Sprintf("%q is not known: use Exact or RegularExpression", typ))
	}
	return model.ValueMatch{Type: model.Exact, Value: value}
}

// named adds a match unless there is one of its name: of several "only the first entry with an equivalent name MUST be
// considered" (Gateway API, HTTPHeaderMatch.Name).
func named(list []model.NamedMatch, m model.NamedMatch) []model.NamedMatch {
	if slices.ContainsFunc(list, func(have model.NamedMatch) bool { return have.Name == m.Name }) {
		return list
	}
	return append(list, m)
}

func hasName(list []model.NamedMatch, name string) bool {
	return slices.ContainsFunc(list, func(m model.NamedMatch) bool { return m.Name == name })
}

// CheckRegex refuses what Envoy would refuse as a regular expression, or be slow with. RE2 and Go's regexp share their
// syntax.
func CheckRegex(expr string) error {
	if len(expr) > maxRegexBytes {
		return fmt.Errorf("the regular expression is longer than %d bytes: shorten it", maxRegexBytes)
	}
	if wideEscape(expr) {
		return errors.New(`the regular expression has an escape above \x{ff}: Envoy matches bytes, ` +
			`write the character itself`)
	}
	parsed, err := syntax.Parse(latin1(expr), syntax.Perl)
	if bad := (*syntax.Error)(nil); errors.As(err, &bad) {
		return fmt.Errorf("the regular expression is not valid RE2 syntax: %s: `%s`", bad.Code, fromLatin1(bad.Expr))
	}
	if size := regexSize(parsed, MaxRegexProgram+1); size > MaxRegexProgram {
		return fmt.Errorf("the regular expression is too large: its program has more than %d instructions", MaxRegexProgram)
	}
	return nil
}

// fromLatin1 undoes latin1.
func fromLatin1(s string) string {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		out = append(out, byte(r))
	}
	return string(out)
}

// latin1 returns the string in which every byte of s is a character, as it is for RE2 in the mode in which Envoy uses
// it.
func latin1(s string) string {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
	}
	return string(out)
}

// wideEscape says whether an expression has an escape like \x{100}, which is RE2 syntax but not where a character is
// a byte.
func wideEscape(expr string) bool {
	for i := 0; i+1 < len(expr); i++ {
		if expr[i] != '\\' {
			continue
		}
		i++
		if hex, ok := strings.CutPrefix(expr[i:], "x{"); ok {
			digits, _, _ := strings.Cut(hex, "}")
			if len(strings.TrimLeft(digits, "0")) > 2 {
				return true
			}
		}
	}
	return false
}

// regexSize estimates the number of instructions of the RE2 program of an expression, from above, and stops counting
// at limit.
func regexSize(re *syntax.Regexp, limit int) int {
	sum := 1
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		sum = 2
	case syntax.OpLiteral:
		sum = len(re.Rune)
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune) && re.Rune[i] <= 0xff; i += 2 {
			sum++
		}
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpCapture:
		sum = 2 + regexSize(re.Sub[0], limit)
	case syntax.OpRepeat:
		times := re.Max
		if times < 0 {
			times = re.Min + 1
		}
		sum = 2 + times*(1+regexSize(re.Sub[0], limit))
	case syntax.OpConcat, syntax.OpAlternate:
		sum = len(re.Sub)
		for _, sub := range re.Sub {
			if sum += regexSize(sub, limit); sum >= limit {
				break
			}
		}
	}
	return min(sum, limit)
}

// prefix returns the match of a path prefix, in which "a trailing / is ignored" (Gateway API, PathMatchPathPrefix).
func prefix(value string) model.ValueMatch {
	if trimmed := strings.TrimRight(value, "/"); trimmed != "" {
		return model.ValueMatch{Type: model.Prefix, Value: trimmed}
	}
	return everyPath
}
