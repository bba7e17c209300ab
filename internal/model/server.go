package model

import (
	"net/url"
	"strconv"
	"strings"
)

// KindServer is the kind of a [BackendKey] that stands for the server of a URL: see [Server].
const KindServer = "Server"

// Server returns the key of the server that a URL names, and false if it names none: it needs the scheme http or https,
// a host, a port from 1 to 65535 if there is one, and neither password nor fragment. Its namespace is the scheme, its
// name the host in lower case.
func Server(text string) (BackendKey, bool) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Fragment != "" {
		return BackendKey{}, false
	}
	port, known := map[string]uint64{"http": 80, "https": 443}[u.Scheme]
	if known && u.Port() != "" {
		port, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	// A name of a cluster has no such characters.
	if err != nil || !known || port == 0 || host == "" || strings.ContainsAny(host, "/~@+=, ") {
		return BackendKey{}, false
	}
	return BackendKey{Kind: KindServer, Name: Name{Namespace: u.Scheme, Name: host}, Port: uint16(port)}, true
}

// SecureServer reports whether the backend is the server of a URL that is spoken to over TLS.
func (k BackendKey) SecureServer() bool { return k.Kind == KindServer && k.Namespace == "https" }
