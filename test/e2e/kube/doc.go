// Package kube tests Sluice on a real Kubernetes, installed by its chart as users install it: what becomes of objects,
// and what becomes of requests while control planes, Envoys, nodes and the API server fail, move and change.
//
// The tests share a cluster and an installation, and run one after another, for each may break what the others use.
// They are short forms of drills; SLUICE_DRILLS=full runs them as long as they are described.
package kube
