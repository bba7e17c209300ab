package accesslog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/cel-go/cel"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/operator"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// parser parses CEL expressions; what they may name is for Envoy to know.
var parser = sync.OnceValues(func() (*cel.Env, error) { return cel.NewEnv() })

// Check refuses formats and expressions that Envoy does not take, and services that cannot be reported to.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ProxyAccessLog)
	var r policy.Refusals
	for i := range spec.Settings {
		path := fmt.Sprintf(".settings[%d]", i)
		checkFormat(&r, path+".format", spec.Settings[i].Format)
		for j, expression := range spec.Settings[i].Matches {
			if err := parse(expression); err != nil {
				r.Add(fmt.Sprintf("%s.matches[%d]", path, j), "Invalid CEL expression: %v", err)
			}
		}
	}
	eachSink(spec, func(s sink) { checkSink(&r, s) })
	return r
}

func parse(expression string) error {
	env, err := parser()
	if err != nil {
		return err
	}
	_, issues := env.Parse(expression)
	return issues.Err()
}

func checkFormat(r *policy.Refusals, path string, spec *egv1a1.ProxyAccessLogFormat) {
	if spec == nil {
		return
	}
	if spec.Text != nil {
		if err := operator.Check(*spec.Text); err != nil {
			r.Add(path+".text", "Invalid format: %v", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.JSON)) {
		if err := operator.Check(spec.JSON[name]); err != nil {
			r.Add(path+".json", "Invalid format of the field %q: %v", name, err)
		}
	}
}

func checkSink(r *policy.Refusals, s sink) {
	switch {
	case s.spec.ALS != nil:
		checkService(r, s.path+".als", s.spec.ALS)
	case s.spec.OpenTelemetry != nil:
		spec, path := s.spec.OpenTelemetry, s.path+".openTelemetry"
		collector.Check(r, path, &spec.BackendCluster, address(spec))
		collector.CheckHeaders(r, path+".headers", spec.Headers)
	case s.spec.File == nil:
		r.Add(s.path, "The sink is nowhere: set file, als or openTelemetry, as its type says")
	case !strings.HasPrefix(s.spec.File.Path, "/"):
		r.Add(s.path+".file.path", "The path %q is not absolute: start it with a slash, as in /dev/stdout", s.spec.File.Path)
	}
}

func checkService(r *policy.Refusals, path string, spec *egv1a1.ALSEnvoyProxyAccessLog) {
	collector.Check(r, path, &spec.BackendCluster, collector.Address{})
	if spec.HTTP == nil {
		return
	}
	for _, list := range []struct {
		name  string
		names []string
	}{
		{"requestHeaders", spec.HTTP.RequestHeaders},
		{"responseHeaders", spec.HTTP.ResponseHeaders},
		{"responseTrailers", spec.HTTP.ResponseTrailers},
	} {
		for i, name := range list.names {
			if err := header.CheckName(name); err != nil {
				r.Add(fmt.Sprintf("%s.http.%s[%d]", path, list.name, i), "Invalid header: %v", err)
			}
		}
	}
}
