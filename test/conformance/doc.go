// Package conformance runs the Gateway API's official conformance suite against Sluice, installed from its chart in a
// cluster for tests: all profiles for gateways, with every feature, and nothing skipped.
//
//	make conformance             the whole suite; the report goes to docs/conformance
//	make conformance RUN=NAME    one test of it
package conformance
