package main

import (
	"log/slog"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/extension"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// extensionServers are those of the configuration file, and the kinds of objects that they understand.
type extensionServers struct {
	list  []envoygateway.ExtensionServer
	kinds resource.Extensions
}

// serversOf returns the extension servers of a file, which was checked.
func serversOf(c *envoygateway.Config) (extensionServers, error) {
	kinds, err := resource.NewExtensions(c.ExtensionKinds())
	return extensionServers{list: c.ExtensionServers(), kinds: kinds}, err
}

// options are those of a pipeline that has the servers asked by a caller.
func (s extensionServers) options(call func(model.Call, bool)) pipeline.ExtensionOptions {
	out := pipeline.ExtensionOptions{Kinds: s.kinds, Call: call}
	for _, server := range s.list {
		out.Managers = append(out.Managers, server.ExtensionManager)
	}
	return out
}

// unasked are those of a pipeline that asks nobody: what the servers understand is known to it, and everything is as
// they would be given it.
func (s extensionServers) unasked() pipeline.ExtensionOptions {
	out := s.options(nil)
	for i := range out.Managers {
		out.Managers[i].Hooks = nil
	}
	return out
}

// caller makes what asks the servers. Secrets without a namespace are in the given one; pipeline is there by the time
// that the first call is made.
func (s extensionServers) caller(
	namespace string, p func() *pipeline.Pipeline, answered func(pipeline.Outcome), log *slog.Logger,
) (*extension.Caller, error) {
	return extension.New(extension.Options{
		Servers: s.list, Namespace: namespace, Log: log,
		Secret:  func(name model.Name) map[string][]byte { return p().Secret(name) },
		Deliver: func(call model.Call, answer model.Answer) { answered(p().Answered(call, answer)) },
	})
}
