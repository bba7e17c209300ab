// Package extension asks extension servers: it is the client of Envoy Gateway's gRPC protocol
// (envoygateway.extension.EnvoyGatewayExtension), outside of the engine, whose stages do no I/O.
//
// The engine has a table of the calls that it wants, each with the request in it; a [Caller] makes them and delivers
// the answers, which are an input of the engine like an object that was read. A call that has been answered is made
// again only when a new connection to the server comes about: then it may be another version of it. One that has failed
// is repeated, ever more seldom, and at once on a new connection.
//
// Calls of one server wait for one another when there are many; what is no longer wanted is not asked any more. Each
// server is on its own: one that hangs costs nobody else anything.
package extension
