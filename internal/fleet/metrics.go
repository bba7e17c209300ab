package fleet

import (
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	detectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Metrics are what an Envoy does with its metrics, beyond serving them at MetricsPort. The zero value is nothing.
type Metrics struct {
	// Disabled says that they are not served.
	Disabled bool
	// Compression is how they are compressed for those who accept that: "gzip", "brotli", "zstd", or empty for not at
	// all.
	Compression string
	// CompressFrom is the size in bytes from which on they are; 0 is Envoy's own, 30.
	CompressFrom uint32
	// More are kept besides those that always are: matchers of full names.
	More []*matcherv3.StringMatcher
	// Sinks are the OpenTelemetry collectors that they are sent to.
	Sinks []Sink
}

// Sink is an OpenTelemetry collector, which takes metrics as OTLP over gRPC.
type Sink struct {
	// Addresses are host names or IP addresses with ports; there is at least one. Names says that they are names.
	Addresses []*corev3.Address
	Names     bool
	// Authority is what the collector is called.
	Authority string
	// DeltaCounters and DeltaHistograms have changes sent rather than sums.
	DeltaCounters, DeltaHistograms bool
	// Headers are sent with each export, Resource says what the metrics are of.
	Headers  []*corev3.HeaderValue
	Resource map[string]string
}

// flushInterval is how often metrics are sent to sinks: Envoy's own choice.
const flushInterval = 5 * time.Second

// sinkCluster is the name of the cluster of a sink. No cluster of a user's object has it.
func sinkCluster(index int) string { return fmt.Sprintf("sluice_metrics_%d", index) }

// addSinks has metrics sent to the sinks. Without any, flushing on a timer would walk all stats on the main thread for
// nobody.
func addSinks(b *bootstrapv3.Bootstrap, m Metrics) error {
	if len(m.Sinks) == 0 {
		b.StatsFlush = &bootstrapv3.Bootstrap_StatsFlushOnAdmin{StatsFlushOnAdmin: true}
		return nil
	}
	b.StatsFlushInterval = durationpb.New(flushInterval)
	for i, s := range m.Sinks {
		name := sinkCluster(i)
		cluster, err := s.cluster(name)
		if err != nil {
			return err
		}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, cluster)
		config, err := s.config(name)
		if err != nil {
			return err
		}
		b.StatsSinks = append(b.StatsSinks, &metricsv3.StatsSink{
			Name: "envoy.stat_sinks.open_telemetry", ConfigType: &metricsv3.StatsSink_TypedConfig{TypedConfig: config},
		})
	}
	return nil
}

func (s Sink) cluster(name string) (*clusterv3.Cluster, error) {
	out := &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(xdsConnectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
	}
	if s.Names {
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
	}
	out, err := serviceCluster(out, &corev3.Http2ProtocolOptions{}, s.Addresses[0])
	if err != nil {
		return nil, err
	}
	locality := out.LoadAssignment.Endpoints[0]
	for _, address := range s.Addresses[1:] {
		locality.LbEndpoints = append(locality.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		})
	}
	return out, nil
}

func (s Sink) config(cluster string) (*anypb.Any, error) {
	out := &sinkv3.SinkConfig{
		ProtocolSpecifier: &sinkv3.SinkConfig_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: cluster, Authority: s.Authority,
			}},
			InitialMetadata: s.Headers,
		}},
		ReportCountersAsDeltas: s.DeltaCounters, ReportHistogramsAsDeltas: s.DeltaHistograms,
	}
	if len(s.Resource) > 0 {
		detector, err := deterministic(&detectorv3.StaticConfigResourceDetectorConfig{Attributes: s.Resource})
		if err != nil {
			return nil, err
		}
		out.ResourceDetectors = []*corev3.TypedExtensionConfig{{
			Name: "envoy.tracers.opentelemetry.resource_detectors.static_config", TypedConfig: detector,
		}}
	}
	return deterministic(out)
}

// deterministic packs a message with the same bytes each time: those are compared to know whether pods are up to date.
func deterministic(m proto.Message) (*anypb.Any, error) {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("marshal a sink of metrics: %w", err)
	}
	return out, nil
}

// compressors are the libraries by name.
var compressors = map[string]proto.Message{
	"gzip": &gzipv3.Gzip{}, "brotli": &brotliv3.Brotli{}, "zstd": &zstdv3.Zstd{},
}

// compress has a listener compress its answers for those who accept that.
func compress(manager *hcmv3.HttpConnectionManager, m Metrics) error {
	library, ok := compressors[m.Compression]
	if !ok {
		return fmt.Errorf("the compression %q is not known: use gzip, brotli or zstd", m.Compression)
	}
	packed, err := anypb.New(library)
	if err != nil {
		return fmt.Errorf("marshal the compression of metrics: %w", err)
	}
	common := &compressorv3.Compressor_CommonDirectionConfig{}
	if m.CompressFrom > 0 {
		common.MinContentLength = wrapperspb.UInt32(m.CompressFrom)
	}
	return addFilter(manager, "envoy.filters.http.compressor", &compressorv3.Compressor{
		CompressorLibrary:       &corev3.TypedExtensionConfig{Name: m.Compression, TypedConfig: packed},
		ResponseDirectionConfig: &compressorv3.Compressor_ResponseDirectionConfig{CommonConfig: common},
	})
}
