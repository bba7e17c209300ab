// Package compressor is the fields compressor and compression of a BackendTrafficPolicy: responses are compressed for
// clients that accept it.
//
// Each entry is a filter envoy.filters.http.compressor with the library of its type: gzip, brotli or zstd, all with
// Envoy's defaults. Where a client accepts several alike the first entry is taken (choose_first). minContentLength is
// min_content_length of the response direction, 30 bytes if it is left out. The filters remove Accept-Encoding
// (remove_accept_encoding_header), so that backends send what can be compressed here; Envoy has the last one do it,
// since the others have to see it. What a backend has compressed all the same stays as it is.
//
// compression is the older name of the field. An entry of compressor does not need a gzip, brotli or zstd, which have
// no settings yet: Envoy Gateway passes over those without.
package compressor

import (
	"fmt"
	"math"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field compressor.
type Feature struct{}

// Older is the feature of the field compression.
type Older struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Checker    = Older{}
	_ feature.FilterUser = Older{}
)

const (
	name = "BackendTrafficPolicy.compressor"
	// shortest is Envoy's smallest min_content_length, in bytes.
	shortest = 30
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return name }

// Name returns the name of the policy's field.
func (Older) Name() string { return "BackendTrafficPolicy.compression" }

// Check refuses types that there are not, or twice, and lengths that Envoy cannot have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem { return check(a) }

// Check refuses the same, and the field itself where a policy that is merged with it has the newer one.
func (Older) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	newer := func(other model.Attached) bool { return other.Feature == name }
	if rule != nil && slices.ContainsFunc(rule.Attached, newer) {
		var refused policy.Refusals
		refused.Add("", "The field compressor of %s takes the place of this one: remove it",
			rule.Attached[slices.IndexFunc(rule.Attached, newer)].Source)
		return refused
	}
	return check(a)
}

// HTTPFilters adds the compressors.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) { addTo(s, a) }

// HTTPFilters adds the compressors.
func (Older) HTTPFilters(s *feature.Scope, a model.Attached) { addTo(s, a) }

func check(a model.Attached) policy.Refusals {
	var refused policy.Refusals
	seen := map[egv1a1.CompressorType]bool{}
	for i, c := range a.Spec.([]*egv1a1.Compression) {
		at := fmt.Sprintf("[%d]", i)
		if library(c.Type) == nil {
			refused.Add(at+".type", "There is no type %q: use Gzip, Brotli or Zstd", c.Type)
			continue
		}
		if seen[c.Type] {
			refused.Add(at+".type", "The type %s is there more than once: leave one", c.Type)
		}
		seen[c.Type] = true
		for kind, set := range map[egv1a1.CompressorType]bool{
			egv1a1.GzipCompressorType: c.Gzip != nil, egv1a1.BrotliCompressorType: c.Brotli != nil,
			egv1a1.ZstdCompressorType: c.Zstd != nil,
		} {
			if set && kind != c.Type {
				field := at + "." + strings.ToLower(string(kind))
				refused.Add(field, "The type is %s: remove this field, or change the type", c.Type)
			}
		}
		refused.Bytes(at+".minContentLength", c.MinContentLength, shortest, math.MaxUint32)
	}
	slices.SortFunc(refused, func(a, b feature.Problem) int { return strings.Compare(a.Path, b.Path) })
	return refused
}

// addTo adds a filter for each entry.
func addTo(s *feature.Scope, a model.Attached) {
	list := a.Spec.([]*egv1a1.Compression)
	for i, c := range list {
		kind := strings.ToLower(string(c.Type))
		s.Add("compressor/"+kind, &filterv3.Compressor{
			CompressorLibrary: &corev3.TypedExtensionConfig{
				Name: "envoy.compression." + kind + ".compressor", TypedConfig: feature.Pack(library(c.Type)),
			},
			ResponseDirectionConfig: &filterv3.Compressor_ResponseDirectionConfig{
				CommonConfig: &filterv3.Compressor_CommonDirectionConfig{
					MinContentLength: policy.Bytes(c.MinContentLength),
				},
				RemoveAcceptEncodingHeader: i == len(list)-1,
			},
			ChooseFirst: i == 0,
		})
	}
}

// library returns the compressor of a type, nil if there is none.
func library(kind egv1a1.CompressorType) proto.Message {
	switch kind {
	case egv1a1.GzipCompressorType:
		return &gzipv3.Gzip{}
	case egv1a1.BrotliCompressorType:
		return &brotliv3.Brotli{}
	case egv1a1.ZstdCompressorType:
		return &zstdv3.Zstd{}
	}
	return nil
}
