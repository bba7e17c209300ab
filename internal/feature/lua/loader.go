package lua

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// The loader runs the script that is defined above it, and answers with 500 if that fails. Where there is a context,
// it is what the script gets from handle:filterContext(): Envoy looks for one in the filter's typed_per_filter_config,
// and a filter in a chain of a route has none.
const (
	run = `local good = script ~= nil
if good then good, why = pcall(script) end
`
	runWithContext = `local good = script ~= nil and context ~= nil
if good then good, why = pcall(script) end
if good then
  local function known(f)
    return f and function(handle)
      getmetatable(handle).filterContext = context
      return f(handle)
    end
  end
  envoy_on_request, envoy_on_response = known(envoy_on_request), known(envoy_on_response)
end
`
	fail = `if not good then
  function envoy_on_request(handle)
    handle:logErr("the script cannot be loaded: " .. tostring(why))
    handle:respond({[":status"] = "500"}, "")
  end
  envoy_on_response = nil
end
`
)

// loader returns a script that loads another one and gives it a context, which may be nil.
func loader(code string, context *structpb.Struct) string {
	out := "local script, why = loadstring(" + quote(code) + `, "=script")` + "\n"
	if context == nil {
		return out + run + fail
	}
	text := "return " + literal(structpb.NewStructValue(context))
	return out + "local context = loadstring(" + quote(text) + `, "=context")` + "\n" + runWithContext + fail
}

// quote returns a string with a text between long brackets of a level that it does not have (Lua 5.1 manual, section
// 2.1): nothing in it can end the string. The first newline is not part of it, so lines keep their numbers.
func quote(text string) string {
	level := ""
	for strings.Contains(text, "]"+level+"]") {
		level += "="
	}
	return "[" + level + "[\n" + text + "\n]" + level + "]"
}

// literal returns a JSON value as an expression, as Envoy has values of a context: null is nil, lists count from 1.
func literal(v *structpb.Value) string {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(kind.BoolValue)
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(kind.NumberValue, 'g', -1, 64)
	case *structpb.Value_StringValue:
		return escape(kind.StringValue)
	case *structpb.Value_StructValue:
		fields := kind.StructValue.GetFields()
		var out []string
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			out = append(out, "["+escape(key)+"]="+literal(fields[key]))
		}
		return "{" + strings.Join(out, ",") + "}"
	case *structpb.Value_ListValue:
		var out []string
		for i, item := range kind.ListValue.GetValues() {
			out = append(out, fmt.Sprintf("[%d]=%s", i+1, literal(item)))
		}
		return "{" + strings.Join(out, ",") + "}"
	default:
		return "nil"
	}
}

// escape returns a text as a string literal: every byte that could mean anything in Lua by its number.
func escape(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for i := range len(text) {
		b := text[i]
		if b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || strings.IndexByte(" -_.:/", b) >= 0 {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, `\%03d`, b)
		}
	}
	out.WriteByte('"')
	return out.String()
}
