// Package extproc is EnvoyExtensionPolicy.extProc: gRPC servers that see requests and responses and can change them, in
// the order of the list.
//
// Each is one of Envoy's ext_proc filters. backendRefs is its grpc_service, messageTimeout its message_timeout (200ms),
// failOpen failure_mode_allow, statusOnError status_on_error (500), shadowMode observability_mode. processingMode says
// what the server is sent: nothing by default; headers of what is named (request, response), its body by
// processing_mode, and attributes. With bodies in FullDuplexStreamed trailers are sent too. In metadata,
// accessibleNamespaces and writableNamespaces are the forwarding and receiving namespaces of metadata_options;
// allowModeOverride is allow_mode_override.
//
// While a server cannot be used (a reference is wrong), one with failOpen is left out, and for any other the requests
// are answered with 500.
package extproc

import (
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// longestMessage is the longest timeout of a message that Envoy takes (ExternalProcessor.message_timeout).
const longestMessage = time.Hour

// Feature is the feature of EnvoyExtensionPolicy.extProc.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

// Name returns the field's name.
func (Feature) Name() string { return model.KindEnvoyExtensionPolicy + ".extProc" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the servers.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	list := a.Spec.([]egv1a1.ExtProc)
	for i := range list {
		cluster := list[i].BackendCluster
		//lint:ignore SA1019 deprecated, and refused
		cluster.BackendRef = nil
		for _, ref := range policy.BackendReferences(&cluster, fmt.Sprintf("%s[%d]", a.Path, i), model.AppGRPC) {
			ref.Optional, ref.Settings = policy.Or(list[i].FailOpen, false), list[i].BackendSettings
			out = append(out, ref)
		}
	}
	return out
}

// Check refuses what ext_proc cannot do.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	list := a.Spec.([]egv1a1.ExtProc)
	for i := range list {
		p, path := &list[i], fmt.Sprintf("[%d]", i)
		//lint:ignore SA1019 deprecated, but part of the API
		if p.BackendRef != nil {
			refused.Add(path+".backendRef", "It is not looked at: write it as the entry of backendRefs")
		}
		if len(p.BackendRefs) == 0 {
			refused.Add(path+".backendRefs", "There is no server: name one")
		}
		refused.Shares(path, &p.BackendCluster)
		if refused.Duration(path+".messageTimeout", p.MessageTimeout, time.Millisecond) > longestMessage {
			refused.Add(path+".messageTimeout", "The duration %q is too long for Envoy: use at most 1h", *p.MessageTimeout)
		}
	}
	return refused
}

// HTTPFilters adds a filter for each server.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	backends := a.Backends
	list := a.Spec.([]egv1a1.ExtProc)
	for i := range list {
		n := min(len(list[i].BackendRefs), len(backends))
		backend := policy.Backend(&list[i].BackendCluster, backends[:n])
		backends = backends[n:]
		if backend == (model.BackendKey{}) && policy.Or(list[i].FailOpen, false) {
			continue
		}
		s.Add(fmt.Sprintf("envoy.filters.http.ext_proc/%d", i), config(&list[i], s.Use(backend), backend))
	}
}

// config is the filter that asks one server.
func config(p *egv1a1.ExtProc, cluster string, backend model.BackendKey) *procv3.ExternalProcessor {
	target := &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}
	if backend != (model.BackendKey{}) {
		// The cluster's name has slashes, which some servers refuse.
		first := backend.First()
		target.Authority = first.Name.Name + "." + first.Namespace
	}
	out := &procv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: target},
		},
		FailureModeAllow:  policy.Or(p.FailOpen, false),
		ObservabilityMode: policy.Or(p.ShadowMode, false),
		MessageTimeout:    policy.Duration(p.MessageTimeout),
		ProcessingMode:    processing(p.ProcessingMode),
	}
	if mode := p.ProcessingMode; mode != nil {
		out.AllowModeOverride = mode.AllowModeOverride
		if mode.Request != nil {
			out.RequestAttributes = mode.Request.Attributes
		}
		if mode.Response != nil {
			out.ResponseAttributes = mode.Response.Attributes
		}
	}
	if m := p.Metadata; m != nil {
		out.MetadataOptions = &procv3.MetadataOptions{
			ForwardingNamespaces: namespaces(m.AccessibleNamespaces), ReceivingNamespaces: namespaces(m.WritableNamespaces),
		}
	}
	if p.StatusOnError != nil {
		out.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(*p.StatusOnError)}
	}
	return out
}

func namespaces(list []string) *procv3.MetadataOptions_MetadataNamespaces {
	if len(list) == 0 {
		return nil
	}
	return &procv3.MetadataOptions_MetadataNamespaces{Untyped: list}
}

// bodyModes are how bodies are sent.
var bodyModes = map[egv1a1.ExtProcBodyProcessingMode]procv3.ProcessingMode_BodySendMode{
	egv1a1.StreamedExtProcBodyProcessingMode:          procv3.ProcessingMode_STREAMED,
	egv1a1.BufferedExtProcBodyProcessingMode:          procv3.ProcessingMode_BUFFERED,
	egv1a1.BufferedPartialExtBodyHeaderProcessingMode: procv3.ProcessingMode_BUFFERED_PARTIAL,
	egv1a1.FullDuplexStreamedExtBodyProcessingMode:    procv3.ProcessingMode_FULL_DUPLEX_STREAMED,
}

// processing is what the server is sent.
func processing(mode *egv1a1.ExtProcProcessingMode) *procv3.ProcessingMode {
	if mode == nil {
		mode = &egv1a1.ExtProcProcessingMode{}
	}
	out := &procv3.ProcessingMode{}
	out.RequestHeaderMode, out.RequestBodyMode, out.RequestTrailerMode = direction(mode.Request)
	out.ResponseHeaderMode, out.ResponseBodyMode, out.ResponseTrailerMode = direction(mode.Response)
	return out
}

func direction(o *egv1a1.ProcessingModeOptions) (
	headers procv3.ProcessingMode_HeaderSendMode, body procv3.ProcessingMode_BodySendMode,
	trailers procv3.ProcessingMode_HeaderSendMode,
) {
	headers, trailers = procv3.ProcessingMode_SKIP, procv3.ProcessingMode_SKIP
	if o == nil {
		return headers, body, trailers
	}
	headers = procv3.ProcessingMode_SEND
	if o.Body != nil {
		body = bodyModes[*o.Body]
	}
	if body == procv3.ProcessingMode_FULL_DUPLEX_STREAMED {
		trailers = procv3.ProcessingMode_SEND // the server is told by them that a body has ended
	}
	return headers, body, trailers
}
