// Package ratelimit decides whether a request is within its limits: the core of `sluice ratelimit`, without transport.
//
// It holds no configuration. Everything that a decision needs comes with the request, in the descriptors that Envoy
// makes from its routes (envoy.service.ratelimit.v3.RateLimitRequest): which rule it is, what its limit is, and how it
// counts. So there is nothing to distribute, nothing to fall out of step with the routes, and a service that has just
// been started decides right. What the entries of a descriptor mean is in [KeyRule], [KeyLimit] and [KeyMode]; all
// others, and the rule, tell the counters apart.
//
// A limit holds in every window of its unit, wherever it begins: see [Store] for the promise and window for how it is
// kept. Counters are in memory ([Memory]), or in Redis or Valkey for several services (package redis below).
package ratelimit

// Cluster is the name of the Envoy cluster of the service, and Domain what all its requests are in
// (RateLimitRequest.domain). Counters of several installations that share a Redis are told apart by its database.
const Cluster, Domain = "sluice_ratelimit", "sluice"
