// Package wasm is EnvoyExtensionPolicy.wasm: Wasm modules (Proxy-Wasm ABI) that see requests and responses, in the
// order of the list.
//
// Each is one of Envoy's wasm filters, in a VM of its own (vm_id). name and rootID are those of the plugin, config is
// given to it as JSON text, env.hostKeys are the variables of Envoy's environment that it sees, failOpen is its
// failure_policy.
//
// Sluice itself gets the module (package internal/fetch), by HTTP or from an OCI registry, and Envoy gets it with the
// configuration. So a route takes requests with its module or not at all: there is no time in which Envoy still fetches
// it, and an Envoy that starts needs no server but Sluice's. sha256 is that of the module, for an image the digest of
// its manifest. Without it, pullPolicy Always (the default for the tag latest) has Sluice look once a minute whether
// there is a newer one; IfNotPresent keeps what was found first for as long as a policy wants it.
//
// While a module is not there, one with failOpen is left out, and for any other the requests are answered with 500.
package wasm

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of EnvoyExtensionPolicy.wasm.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

const (
	// maxModule is the size of the largest module: it is part of Envoy's configuration.
	maxModule = 32 << 20
	// refresh is how often a newer module is looked for.
	refresh = time.Minute
	// magic is how a module starts (WebAssembly core specification, section 5.5.16).
	magic = "\x00asm\x01\x00\x00\x00"
	// runtime is the one that Envoy is built with.
	runtime = "envoy.wasm.runtime.v8"
)

// Name returns the field's name.
func (Feature) Name() string { return model.KindEnvoyExtensionPolicy + ".wasm" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the modules.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	list := a.Spec.([]egv1a1.Wasm)
	for i := range list {
		ref := resolve.Reference{Optional: policy.Or(list[i].FailOpen, false)}
		ref.Path, ref.Fetch = source(&list[i].Code, fmt.Sprintf("%s[%d].code", a.Path, i))
		if ref.Fetch != nil {
			out = append(out, ref)
		}
	}
	return out
}

// source returns where a module is, and the field that says it.
func source(code *egv1a1.WasmCodeSource, path string) (string, *resolve.FetchReference) {
	switch {
	case code.Type == egv1a1.HTTPWasmCodeSourceType && code.HTTP != nil:
		from := code.HTTP
		ref := &resolve.FetchReference{
			Kind: model.FetchHTTP, URL: from.URL, SHA256: checksum(from.SHA256), Limit: maxModule,
			Every: every(code, false), CAPath: path + ".http.tls.caCertificateRef",
		}
		ref.CA = authority(from.TLS)
		return path + ".http", ref
	case code.Type == egv1a1.ImageWasmCodeSourceType && code.Image != nil:
		from := code.Image
		ref := &resolve.FetchReference{
			Kind: model.FetchWasmImage, URL: from.URL, SHA256: checksum(from.SHA256), Limit: maxModule,
			Every: every(code, isLatest(from.URL)), CAPath: path + ".image.tls.caCertificateRef",
			CredentialsPath: path + ".image.pullSecretRef",
		}
		ref.CA = authority(from.TLS)
		if from.PullSecretRef != nil {
			ref.Credentials = resolve.SecretReference(*from.PullSecretRef)
		}
		return path + ".image", ref
	}
	return path, nil
}

func authority(tls *egv1a1.WasmCodeSourceTLSConfig) *resolve.ObjectReference {
	if tls == nil {
		return nil
	}
	return resolve.SecretReference(tls.CACertificateRef)
}

func checksum(sum *string) string { return strings.ToLower(policy.Or(sum, "")) }

// every is how often a newer module is looked for, 0 for never.
func every(code *egv1a1.WasmCodeSource, latest bool) time.Duration {
	pinned := code.HTTP != nil && code.HTTP.SHA256 != nil || code.Image != nil && code.Image.SHA256 != nil
	unset := egv1a1.ImagePullPolicyIfNotPresent
	if latest {
		unset = egv1a1.ImagePullPolicyAlways
	}
	if pinned || policy.Or(code.PullPolicy, unset) != egv1a1.ImagePullPolicyAlways {
		return 0
	}
	return refresh
}

// isLatest says whether the name of an image has the tag latest, or neither a tag nor a digest.
func isLatest(name string) bool {
	last := name[strings.LastIndex(name, "/")+1:]
	return !strings.ContainsAny(last, ":@") || strings.HasSuffix(last, ":latest")
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Check refuses sources that cannot be fetched, and what is no module.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	list := a.Spec.([]egv1a1.Wasm)
	for i, m := range modules(a) {
		at := fmt.Sprintf("[%d].code", i)
		path, from := source(&list[i].Code, at)
		switch {
		case from == nil:
			refused.Add(at+".type", "There is no source of type %s: write http or image", list[i].Code.Type)
		case from.SHA256 != "" && !sha256Pattern.MatchString(from.SHA256):
			refused.Add(path+".sha256", "The checksum %q is not a SHA-256: write 64 hexadecimal digits", from.SHA256)
		case m != nil && !strings.HasPrefix(string(m[:min(len(m), len(magic))]), magic):
			refused.Add(path, "What is there is not a Wasm module: it does not start with \\0asm and version 1")
		}
	}
	return refused
}

// modules returns the modules of the list; one is nil if it is not there.
func modules(a model.Attached) [][]byte {
	list, fetched := a.Spec.([]egv1a1.Wasm), a.Fetched
	out := make([][]byte, len(list))
	for i := range list {
		if _, from := source(&list[i].Code, ""); from != nil && len(fetched) > 0 {
			out[i], fetched = fetched[0].Data, fetched[1:]
		}
	}
	return out
}

// HTTPFilters adds a filter for each module.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	list := a.Spec.([]egv1a1.Wasm)
	for i, module := range modules(a) {
		if module == nil {
			continue // it fails open: else nobody would ask for filters
		}
		id := fmt.Sprintf("%s/wasm/%d", a.Source.Name, i)
		s.Add(fmt.Sprintf("envoy.filters.http.wasm/%d", i), &filterv3.Wasm{Config: plugin(&list[i], id, module)})
	}
}

// plugin is how Envoy runs a module.
func plugin(w *egv1a1.Wasm, id string, module []byte) *wasmv3.PluginConfig {
	vm := &wasmv3.VmConfig{
		VmId: id, Runtime: runtime,
		Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
			Local: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: module}},
		}},
	}
	if w.Env != nil && len(w.Env.HostKeys) > 0 {
		vm.EnvironmentVariables = &wasmv3.EnvironmentVariables{HostEnvKeys: w.Env.HostKeys}
	}
	text := ""
	if w.Config != nil {
		text = string(w.Config.Raw)
	}
	out := &wasmv3.PluginConfig{
		Name: policy.Or(w.Name, id), RootId: policy.Or(w.RootID, ""), Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: vm},
		Configuration: feature.Pack(wrapperspb.String(text)), FailurePolicy: wasmv3.FailurePolicy_FAIL_CLOSED,
	}
	if policy.Or(w.FailOpen, false) {
		out.FailurePolicy = wasmv3.FailurePolicy_FAIL_OPEN
	}
	return out
}
