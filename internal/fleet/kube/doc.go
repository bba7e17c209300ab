// Package kube runs fleets of Envoys on Kubernetes.
//
// [Render] says what objects a fleet is: it is pure, and everything that an EnvoyProxy says goes in there. A [Manager]
// keeps the objects in the cluster as they were rendered, and says where the fleet can be reached.
package kube
