// Package coverage has the tests that every field of Envoy Gateway's API does something, or is refused. They change
// each leaf field in inputs whose effect is asserted elsewhere, and look at what that changes.
package coverage
