// Package dynamicmodule is the field dynamicModule of an EnvoyExtensionPolicy: HTTP filters in shared libraries that
// Envoy loads. They run with all rights of the proxy, so a policy can name only what the operator has registered: in
// dynamicModules of the EnvoyProxy of the Gateway.
//
// Each becomes an HTTP filter envoy.filters.http.dynamic_modules, in the order of the list: module.local.filename is
// the path that is registered, with doNotClose and loadGlobally; filter_name and filter_config are filterName and
// config, which the module gets as JSON text; terminalFilter is terminal_filter. Envoy opens the file itself. If it
// cannot, it refuses the route.
//
// Modules that Envoy would fetch itself (source type Remote) are refused: until Envoy has one, requests would pass
// without it.
package dynamicmodule

import (
	"fmt"
	"path"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modulev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/dynamic_modules/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field dynamicModule.
type Feature struct{}

var (
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.ProxyUser  = Feature{}
)

// Name returns the field's name.
func (Feature) Name() string { return model.KindEnvoyExtensionPolicy + ".dynamicModule" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// CheckProxy refuses modules that the operator has not registered for the Gateway, and paths that are none.
func (Feature) CheckProxy(a model.Attached) []feature.Problem {
	var refused policy.Refusals
	for i, m := range a.Spec.([]egv1a1.DynamicModule) {
		at := fmt.Sprintf("[%d].name", i)
		entry := registered(a, m.Name)
		if entry == nil {
			refused.Add(at, "No module %q is registered for the Gateway: whoever operates it does that in "+
				"spec.dynamicModules of its EnvoyProxy", m.Name)
			continue
		}
		switch file := fileOf(entry); {
		case file == "":
			refused.Add(at, "The module %q is not registered with the path of a file, and until Envoy had fetched it, "+
				"requests would pass without it: copy it to where the proxy is, and register source.local.path", m.Name)
		case !path.IsAbs(file) || path.Clean(file) != file || strings.ContainsRune(file, 0):
			refused.Add(at, "The module %q is registered with the path %q: write an absolute one, without . and ..",
				m.Name, file)
		}
	}
	return refused
}

// registered returns the module of a name in the EnvoyProxy of the Gateway, nil if there is none.
func registered(a model.Attached, name string) *egv1a1.DynamicModuleEntry {
	spec, ok := a.Proxy.(*egv1a1.EnvoyProxySpec)
	if !ok || spec == nil {
		return nil
	}
	i := slices.IndexFunc(spec.DynamicModules, func(e egv1a1.DynamicModuleEntry) bool { return e.Name == name })
	if i < 0 {
		return nil
	}
	return &spec.DynamicModules[i]
}

// fileOf returns the path of a module, "" if it has none.
func fileOf(e *egv1a1.DynamicModuleEntry) string {
	remote := policy.Or(e.Source.Type, egv1a1.LocalDynamicModuleSourceType) != egv1a1.LocalDynamicModuleSourceType
	if remote || e.Source.Local == nil {
		return ""
	}
	return e.Source.Local.Path
}

// HTTPFilters adds a filter for each module.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	for i, m := range a.Spec.([]egv1a1.DynamicModule) {
		entry := registered(a, m.Name)
		if entry == nil {
			continue // refused by CheckProxy
		}
		config := &filterv3.DynamicModuleFilter{
			DynamicModuleConfig: &modulev3.DynamicModuleConfig{
				Module: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{Local: &corev3.DataSource{
					Specifier: &corev3.DataSource_Filename{Filename: fileOf(entry)},
				}}},
				DoNotClose:   policy.Or(entry.DoNotClose, false),
				LoadGlobally: policy.Or(entry.LoadGlobally, false),
			},
			FilterName:     policy.Or(m.FilterName, ""),
			TerminalFilter: policy.Or(m.TerminalFilter, false),
		}
		if m.Config != nil && len(m.Config.Raw) > 0 {
			config.FilterConfig = feature.Pack(wrapperspb.String(string(m.Config.Raw)))
		}
		s.Add(fmt.Sprintf("envoy.filters.http.dynamic_modules/%d", i), config)
	}
}
