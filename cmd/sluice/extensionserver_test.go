package main

import (
	"fmt"
	"maps"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/model"
)

// extensionEffectsWith adds the effects of the fields of extension servers, which are the same for one and for several.
func extensionEffectsWith(others map[string]effect) map[string]effect {
	out := maps.Clone(others)
	for _, list := range []bool{false, true} {
		path, format := "extensionManager", "extensionManager: {name: x, %s}"
		if list {
			path, format = "extensionManagers", "extensionManagers: [{name: x, %s}]"
		}
		maps.Copy(out, serverEffects(path, format))
	}
	return out
}

func serverEffects(path, format string) map[string]effect {
	const post, at = "hooks: {xdsTranslator: {post: [Route]}}", "service: {fqdn: {hostname: h, port: 1}}"
	kinds := "[{group: g.example.com, version: v1, kind: K}]"
	k := []model.GroupKind{{Group: "g.example.com", Kind: "K"}}
	out := map[string]effect{}
	add := func(field, text string, get func(envoygateway.ExtensionServer) any, want any) {
		out[path+field] = effect{
			envoygateway.Run, fmt.Sprintf(format, text), func(f taken) any { return get(f.Run.servers.list[0]) }, want,
		}
	}
	usual := post + ", " + at
	add(".name", usual, func(s envoygateway.ExtensionServer) any { return s.Name }, "x")
	add(".resources", usual+", resources: "+kinds, func(s envoygateway.ExtensionServer) any { return s.Resources }, k)
	add(".policyResources", usual+", policyResources: "+kinds,
		func(s envoygateway.ExtensionServer) any { return s.Policies }, k)
	add(".backendResources", usual+", backendResources: "+kinds,
		func(s envoygateway.ExtensionServer) any { return s.Resources }, k)
	add(".hooks.xdsTranslator.post", usual, func(s envoygateway.ExtensionServer) any { return s.Hooks },
		[]model.Hook{model.HookRoute})
	add(".hooks.xdsTranslator.translation", at+", hooks: {xdsTranslator: {post: [Translation], translation: "+
		"{listener: {includeAll: true}, secret: {includeAll: false}}}}",
		func(s envoygateway.ExtensionServer) any { return s.Translation },
		model.TranslationScope{Listeners: true, Clusters: true})
	target := func(s envoygateway.ExtensionServer) any { return s.Target }
	add(".service.host", post+", service: {host: h}", target, "dns:///h:80")
	add(".service.hostname", post+", service: {hostname: h}", target, "dns:///h:80")
	add(".service.port", post+", service: {host: h, port: 7}", target, "dns:///h:7")
	add(".service.fqdn", usual, target, "dns:///h:1")
	add(".service.ip", post+", service: {ip: {address: '::1', port: 1}}", target, "passthrough:///[::1]:1")
	add(".service.unix", post+", service: {unix: {path: /s}}", target, "unix:/s")
	add(".service.tls", post+", service: {host: h, tls: {certificateRef: {name: ca, namespace: other}}}",
		func(s envoygateway.ExtensionServer) any { return *s.CA }, model.Name{Namespace: "other", Name: "ca"})
	add(".service.retry", post+", service: {host: h, retry: {maxAttempts: 2, initialBackoff: 1s, maxBackoff: 2s, "+
		"backoffMultiplier: {numerator: 3, denominator: 2}, RetryableStatusCodes: [ABORTED]}}",
		func(s envoygateway.ExtensionServer) any { return s.Retry }, envoygateway.RetryPolicy{
			Attempts: 2, Initial: time.Second, Max: 2 * time.Second, Multiplier: 1.5, Codes: []string{"ABORTED"},
		})
	add(".failOpen", usual+", failOpen: true", func(s envoygateway.ExtensionServer) any { return s.FailOpen }, true)
	add(".maxMessageSize", usual+", maxMessageSize: 1Mi",
		func(s envoygateway.ExtensionServer) any { return s.MaxMessage }, 1<<20)
	return out
}
