// Package e2e tests the built sluice binary with a real Envoy over sockets: YAML files go in, requests come out.
//
// Envoy is found by the environment variable SLUICE_ENVOY, then on PATH, then where `sluice envoy path` says. Without
// one the tests are skipped, unless CI=true. SLUICE_BINARY names a binary to test instead of building one.
package e2e
