// Package fetch gets what policies name by URL: Wasm modules, discovery documents, keys of token issuers. It is the
// only part of the control plane, besides the sources, that goes to servers, and no stage waits for it.
//
// # How a feature uses it
//
// The feature implements feature.Referrer and returns a resolve.Reference with Fetch set:
//
//	resolve.Reference{Path: a.Path + ".provider.issuer", Fetch: &resolve.FetchReference{
//		Kind: model.FetchHTTP, URL: issuer + "/.well-known/openid-configuration", Limit: 1 << 20, Every: time.Hour,
//	}}
//
// What was fetched is in the Fetched of the model.Attached that the feature is then given, in the order of these
// references: Check looks at what it holds, and refuses what is of no use. That is all. Until it is there, and while it
// cannot be fetched, the field cannot be applied, which the status of the policy says in the fetch's own words: if the
// feature is a feature.Guard, requests are answered with 500 meanwhile. With Optional in the reference the feature is
// given a Fetched without Data instead, and with Instead too, but then the policy is accepted and only warns.
//
// The same fetch of several policies is one. It is forgotten when no policy that holds for something wants it.
//
// # How it is fetched
//
// Each fetch is on its own: a server that hangs or fails costs its own policies something, and nobody else. An attempt
// takes [Options.Timeout] at most; one that failed is repeated after a second, then ever more seldom, a minute apart in
// the end. At most [maxAttempts] run at a time, and [maxPerHost] to one host. With Every set it is looked for again:
// what was fetched stays if that fails, with Keep set for that long at most, and then whoever wants it is told that it
// is stale.
//
// A response is read up to the limit of the fetch. What is compressed (the layers of images) is unpacked up to the same
// limit, so that nobody fills the memory with a few kilobytes.
//
// Of a JSON Web Key Set ([model.FetchJWKS]) the public keys are taken, and nothing else of what the server says: see
// package jwks. What is no such set counts as an attempt that failed. With [Options.Dir] keys outlive the process.
//
// # What it may reach
//
// URLs are written by route authors, who are not trusted. Only http and https are spoken, redirects are followed five
// times at most, never from https to http and for keys not at all, and nothing that a server says is repeated in a
// status but its HTTP status. In a cluster the control plane goes to no address of its own machine or link (loopback,
// link-local, and so the metadata services of clouds): the address is looked at when the connection is made, after
// names have been resolved and redirects followed. Other private addresses are not refused: that is where registries
// of companies are. On one machine, which belongs to whoever writes the files, everything can be reached. An HTTP proxy
// in the environment is used (HTTPS_PROXY, NO_PROXY); then it is the proxy that decides.
package fetch
