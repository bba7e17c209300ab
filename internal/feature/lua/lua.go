// Package lua is EnvoyExtensionPolicy.lua: scripts that see requests and responses, in the order of the list.
//
// Each is one of Envoy's lua filters. inline, or what valueRef leads to (the key lua of a ConfigMap, else its first
// key), is the script; filterContext is what it gets from handle:filterContext().
//
// Envoy has no sandbox for scripts: they can read the proxy's files. They are therefore refused until the operator
// allows them (--enable-lua; `sluice run` does by default, as whoever writes its files owns the machine). Sluice never
// runs them. It parses them, so that the policy's status says what is wrong; EnvoyProxy.spec.luaValidation, which asks
// Envoy Gateway to run scripts or not to look at them, changes nothing.
//
// What only shows when a script is loaded (a call of nil) would have Envoy refuse the whole configuration with it. So
// Envoy is given a script that loads it: if that fails, the requests of its own routes are answered with 500. An error
// while a request is served is logged, and the request goes on, as Envoy does it.
package lua

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	"github.com/yuin/gopher-lua/parse"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of EnvoyExtensionPolicy.lua.
type Feature struct {
	// Allowed says that the operator lets policies bring scripts.
	Allowed bool
}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

// configMapKey is the key of a ConfigMap that a script is looked for under.
const configMapKey = "lua"

// Name returns the field's name.
func (Feature) Name() string { return model.KindEnvoyExtensionPolicy + ".lua" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the ConfigMaps with scripts.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	for i, l := range a.Spec.([]egv1a1.Lua) {
		if ref := l.ValueRef; byReference(l) {
			out = append(out, resolve.Reference{
				Path: fmt.Sprintf("%s[%d].valueRef", a.Path, i), Object: resolve.LocalReference(*ref),
			})
		}
	}
	return out
}

func byReference(l egv1a1.Lua) bool {
	return l.Type == egv1a1.LuaValueTypeValueRef && l.ValueRef != nil
}

// script is one of the list, with the field that it was written in.
type script struct {
	path, code string
	// missing is why there is no code; empty if there is.
	missing string
	context *structpb.Struct
	// badContext is why the context cannot be used.
	badContext error
}

// scripts returns the scripts of a.
func scripts(a model.Attached) []script {
	var out []script
	objects := a.Objects
	for i, l := range a.Spec.([]egv1a1.Lua) {
		s := script{path: fmt.Sprintf("[%d]", i)}
		switch {
		case byReference(l) && len(objects) > 0:
			s.path += ".valueRef"
			s.code, s.missing = codeOf(objects[0])
			objects = objects[1:]
		case l.Inline != nil:
			s.path += ".inline"
			s.code = *l.Inline
		}
		if l.FilterContext != nil && l.FilterContext.Raw != nil {
			s.context = &structpb.Struct{}
			s.badContext = protojson.Unmarshal(l.FilterContext.Raw, s.context)
		}
		out = append(out, s)
	}
	return out
}

// codeOf returns the script in a ConfigMap, or why there is none.
func codeOf(o model.Object) (code, missing string) {
	if o.Ref.Kind != model.KindConfigMap {
		return "", fmt.Sprintf("%s is not a ConfigMap: scripts are read from ConfigMaps only", o.Ref)
	}
	if text, ok := o.Data[configMapKey]; ok {
		return string(text), ""
	}
	for _, key := range slices.Sorted(maps.Keys(o.Data)) {
		return string(o.Data[key]), ""
	}
	return "", fmt.Sprintf("%s has no key %s", o.Ref, configMapKey)
}

// Check refuses scripts that are not allowed, and those that cannot be parsed.
func (f Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	if !f.Allowed {
		refused.Add("", "Lua is off, since scripts can read the files of proxies: the operator of Sluice turns it on "+
			"with --enable-lua")
		return refused
	}
	for i, s := range scripts(a) {
		if s.badContext != nil {
			refused.Add(fmt.Sprintf("[%d].filterContext", i), "The context is not a JSON object: write key: value pairs")
		}
		switch {
		case s.missing != "":
			refused.Add(s.path, "%s", s.missing)
		case strings.HasPrefix(s.code, "\x1b"):
			refused.Add(s.path, "Compiled Lua is not run: use the source of the script")
		case strings.TrimSpace(s.code) == "":
			refused.Add(s.path, "The script is empty: define envoy_on_request or envoy_on_response")
		default:
			if _, err := parse.Parse(strings.NewReader(s.code), "script"); err != nil {
				refused.Add(s.path, "The script cannot be parsed: %s", strings.Join(strings.Fields(err.Error()), " "))
			}
		}
	}
	return refused
}

// HTTPFilters adds a filter for each script.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	for i, script := range scripts(a) {
		s.Add(fmt.Sprintf("envoy.filters.http.lua/%d", i), &luav3.Lua{DefaultSourceCode: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: loader(script.code, script.context)},
		}})
	}
}
