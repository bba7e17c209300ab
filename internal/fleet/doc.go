// Package fleet is what all places where Envoys run have in common: which Envoy, and the bootstrap that makes it ask
// Sluice for everything else.
//
// A fleet is the set of Envoys that serve one configuration. Package fleet/local runs one as a supervised child
// process.
package fleet
