package main

import "os"

// systemCAs are where systems keep their CA certificates in one file: Debian and Alpine, Fedora, openSUSE, macOS and
// FreeBSD.
var systemCAs = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
	"/usr/local/etc/ssl/cert.pem",
}

// findSystemCAs returns the file with the CA certificates of this machine: what SSL_CERT_FILE says, as OpenSSL and Go
// have it, or else the first of the usual places that exists. It is empty if there is none.
func findSystemCAs() string {
	if path := os.Getenv("SSL_CERT_FILE"); path != "" {
		return path
	}
	for _, path := range systemCAs {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
