// Package pki is the control plane's own certificate authority: by its certificates the replicas and the Envoys know
// one another on the xDS port.
//
// A certificate holds one identity, a SPIFFE ID in a URI SAN. That of a proxy names the proxy, so that an Envoy gets
// what its certificate says and never what it claims. Keys are ECDSA P-256, connections TLS 1.3.
//
// An [Authority] is a list of CAs. One signs; the others are trusted: the next one for a while before it signs, so that
// everybody has heard of it, and the last one for as long as something that it signed is valid. Which is which follows
// from the certificates and the time alone, so replicas that share the list agree without talking.
package pki

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// ControlPlane is the identity of the replicas of the control plane, as servers and as each other's clients. Envoys
	// take configuration from nobody else.
	ControlPlane = "spiffe://" + trustDomain + "/control-plane"
	// RateLimit is the identity of the rate-limit service, as a server of Envoys.
	RateLimit   = "spiffe://" + trustDomain + "/ratelimit"
	trustDomain = "sluice.dev"
	proxyPath   = "/proxy/"
)

// ProxyID returns the identity of a proxy, spiffe://sluice.dev/proxy/ and its name. Different proxies have different
// identities.
func ProxyID(proxy model.ProxyName) string {
	parts := strings.Split(string(proxy), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "spiffe://" + trustDomain + proxyPath + strings.Join(parts, "/")
}

var errNoProxy = errors.New("not the identity of a proxy")

// ProxyOf returns the proxy that an identity is of, and an error if it is not that of a proxy.
func ProxyOf(id string) (model.ProxyName, error) {
	path, ok := strings.CutPrefix(id, "spiffe://"+trustDomain+proxyPath)
	if !ok {
		return "", fmt.Errorf("%q: %w", id, errNoProxy)
	}
	name, err := url.PathUnescape(path)
	if err != nil || name == "" || ProxyID(model.ProxyName(name)) != id {
		return "", fmt.Errorf("%q: %w", id, errNoProxy)
	}
	return model.ProxyName(name), nil
}
