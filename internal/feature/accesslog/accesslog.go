// Package accesslog is the field telemetry.accessLog of an EnvoyProxy: requests and connections are written to files,
// to an access log service, or to an OpenTelemetry collector.
//
// A setting becomes an access log for each of its sinks: envoy.access_loggers.file with a text or JSON format,
// http_grpc or tcp_grpc, or open_telemetry with the text as body and the JSON fields as attributes. type says whose:
// Route is the access_log of connection managers, TCP proxies and UDP proxies, Listener that of the listener itself,
// Upstream the upstream_log of the router. Without a type it is that of routes and, for connections that no filter
// chain takes (response flag NR), that of the listener. Each of matches is a CEL filter, all of which have to let an
// entry pass.
//
// Without settings everything goes to standard output, and without a format it is JSON with the fields of Envoy
// Gateway's default. In pods, what goes to OpenTelemetry says which pod it comes from.
package accesslog

import (
	"fmt"
	"maps"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field telemetry.accessLog.
type Feature struct {
	// Pods says that Envoys run in pods, whose name and namespace are in their environment.
	Pods bool
}

var (
	_ feature.Checker  = Feature{}
	_ feature.Referrer = Feature{}
	_ feature.Logger   = Feature{}
)

// stdout is where entries go if nothing is said.
const stdout = "/dev/stdout"

// defaultFields are those of Envoy Gateway.
var defaultFields = map[string]string{
	"start_time":                        "%START_TIME%",
	"method":                            "%REQ(:METHOD)%",
	"x-envoy-origin-path":               "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol":                          "%PROTOCOL%",
	"response_code":                     "%RESPONSE_CODE%",
	"response_flags":                    "%RESPONSE_FLAGS%",
	"response_code_details":             "%RESPONSE_CODE_DETAILS%",
	"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
	"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"bytes_received":                    "%BYTES_RECEIVED%",
	"bytes_sent":                        "%BYTES_SENT%",
	"duration":                          "%DURATION%",
	"x-envoy-upstream-service-time":     "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
	"x-forwarded-for":                   "%REQ(X-FORWARDED-FOR)%",
	"user-agent":                        "%REQ(USER-AGENT)%",
	"x-request-id":                      "%REQ(X-REQUEST-ID)%",
	":authority":                        "%REQ(:AUTHORITY)%",
	"upstream_host":                     "%UPSTREAM_HOST%",
	"upstream_cluster":                  "%UPSTREAM_CLUSTER%",
	"upstream_local_address":            "%UPSTREAM_LOCAL_ADDRESS%",
	"downstream_local_address":          "%DOWNSTREAM_LOCAL_ADDRESS%",
	"downstream_remote_address":         "%DOWNSTREAM_REMOTE_ADDRESS%",
	"requested_server_name":             "%REQUESTED_SERVER_NAME%",
	"route_name":                        "%ROUTE_NAME%",
}

// defaultSettings are those of a spec without any.
var defaultSettings = []egv1a1.ProxyAccessLogSetting{{}}

// defaultSinks are those of a setting without any.
var defaultSinks = []egv1a1.ProxyAccessLogSink{{
	Type: egv1a1.ProxyAccessLogSinkTypeFile, File: &egv1a1.FileEnvoyProxyAccessLog{Path: stdout},
}}

// Name returns the name of the feature.
func (Feature) Name() string { return "EnvoyProxy.telemetry.accessLog" }

// References returns the services that entries are sent to.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	eachSink(a.Spec.(*egv1a1.ProxyAccessLog), func(s sink) {
		if ref := s.reference(a.Path); ref != nil {
			out = append(out, *ref)
		}
	})
	return out
}

// AccessLogs adds the access logs of all sinks. A sink whose service cannot be used has none, as the status of the
// EnvoyProxy says.
func (f Feature) AccessLogs(l *feature.Logs, a model.Attached) {
	spec := a.Spec.(*egv1a1.ProxyAccessLog)
	if policy.Or(spec.Disable, false) {
		return
	}
	backends := a.Backends
	eachSink(spec, func(s sink) {
		var backend model.BackendKey
		if s.reference(a.Path) != nil {
			if len(backends) > 0 {
				backend, backends = backends[0], backends[1:]
			}
			if backend == (model.BackendKey{}) {
				return
			}
		}
		entry := f.entry(l, s, a, backend)
		for _, at := range s.places(l) {
			log := &accesslogv3.AccessLog{
				Name: entry.name, Filter: filter(s.setting.Matches, at.unrouted),
				ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: entry.config},
			}
			*at.list = append(*at.list, log)
		}
	})
}

// sink is a sink of a setting.
type sink struct {
	// path is relative to that of the field.
	path    string
	setting *egv1a1.ProxyAccessLogSetting
	spec    *egv1a1.ProxyAccessLogSink
}

// eachSink calls f for the sinks in order.
func eachSink(spec *egv1a1.ProxyAccessLog, f func(sink)) {
	settings := spec.Settings
	if len(settings) == 0 {
		settings = defaultSettings
	}
	for i := range settings {
		sinks := settings[i].Sinks
		if len(sinks) == 0 {
			sinks = defaultSinks
		}
		for j := range sinks {
			f(sink{path: fmt.Sprintf(".settings[%d].sinks[%d]", i, j), setting: &settings[i], spec: &sinks[j]})
		}
	}
}

// reference returns the reference to the service, nil for a file.
func (s sink) reference(base string) *resolve.Reference {
	switch {
	case s.spec.ALS != nil:
		return collector.Reference(&s.spec.ALS.BackendCluster, collector.Address{}, base+s.path+".als", model.AppGRPC)
	case s.spec.OpenTelemetry != nil:
		otel := s.spec.OpenTelemetry
		return collector.Reference(&otel.BackendCluster, address(otel), base+s.path+".openTelemetry", model.AppGRPC)
	}
	return nil
}

// address is where a sink is without backendRefs.
func address(otel *egv1a1.OpenTelemetryEnvoyProxyAccessLog) collector.Address {
	//lint:ignore SA1019 deprecated, but part of the API and of objects that people have
	return collector.Address{Host: otel.Host, Port: otel.Port}
}

// place is where an access log is written.
type place struct {
	list *[]*accesslogv3.AccessLog
	// unrouted restricts it to what no route takes.
	unrouted bool
}

func (s sink) places(l *feature.Logs) []place {
	if s.setting.Type == nil {
		return []place{{list: &l.Route}, {list: &l.Listener, unrouted: true}}
	}
	switch *s.setting.Type {
	case egv1a1.ProxyAccessLogTypeListener:
		return []place{{list: &l.Listener}}
	case egv1a1.ProxyAccessLogTypeUpstream:
		return []place{{list: &l.Upstream}}
	}
	return []place{{list: &l.Route}}
}

// filter lets pass what all expressions are true of; nil lets pass everything.
func filter(expressions []string, unrouted bool) *accesslogv3.AccessLogFilter {
	var all []*accesslogv3.AccessLogFilter
	for _, e := range expressions {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
			ExtensionFilter: &accesslogv3.ExtensionFilter{
				Name: "envoy.access_loggers.extension_filters.cel",
				ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{
					TypedConfig: feature.Pack(&celv3.ExpressionFilter{Expression: e}),
				},
			},
		}})
	}
	if unrouted {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
		}})
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: all},
	}}
}

// format is what a setting says of entries: a text, or fields, or for OpenTelemetry both.
type format struct {
	text   string
	fields map[string]string
}

// formatOf returns the format of a setting for a sink of a type. Of a format without a type, files have the fields,
// and the text if there are none.
func formatOf(setting *egv1a1.ProxyAccessLogSetting, sink egv1a1.ProxyAccessLogSinkType) format {
	spec := setting.Format
	if spec == nil {
		return format{fields: defaultFields}
	}
	out := format{text: policy.Or(spec.Text, ""), fields: spec.JSON}
	asText := spec.Type == nil && spec.Text != nil && spec.JSON == nil ||
		spec.Type != nil && *spec.Type == egv1a1.ProxyAccessLogFormatTypeText
	switch {
	case asText:
		out.fields = nil
	case sink != egv1a1.ProxyAccessLogSinkTypeOpenTelemetry || spec.Type != nil:
		out.text = ""
	}
	if out.text == "" && len(out.fields) == 0 {
		out.fields = defaultFields
	}
	return out
}

// texts are the formats for Envoy in it, sorted.
func (f format) texts() []string {
	out := []string{f.text}
	for _, name := range slices.Sorted(maps.Keys(f.fields)) {
		out = append(out, f.fields[name])
	}
	return out
}
