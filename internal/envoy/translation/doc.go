// Package translation has extension servers decide about the whole configuration of a proxy: it is the hook Translation
// of Envoy Gateway's protocol (PostTranslateModify), which is about all resources of some types at once.
//
// A hook about one resource is a part of the table of these. This one cannot be: every row would depend on every other
// one. It stands between the tables and the xDS server instead, and a proxy without the hook does not come by. A
// [Proxy] has the resources as the tables make them, and those that are served: what the last complete answer makes of
// them. A resource that the answer was not about, because it is another one since, waits for the next answer. That is
// asked for when the one before is there, so what changes meanwhile is asked about at once.
//
// Types that no server decides about pass as they come, but for three things that belong to clusters: endpoints are
// there for as long as a cluster asks for them, and no listener and no virtual host comes before a cluster it needs.
package translation
