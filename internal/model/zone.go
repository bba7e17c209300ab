package model

// LocalCluster is the name of the cluster by which an Envoy knows its own fleet: how many Envoys there are in each
// zone. No cluster of a user's object has it: those have slashes in their names.
const LocalCluster = "sluice_local"

// LabelFleet is the label of all objects of a fleet, with its name; EndpointSlices have it from their Service.
const LabelFleet = "sluice.dev/fleet"

// kindLocal is the kind of the [BackendKey] that stands for the Envoys of a fleet.
const kindLocal = "Local"

// LocalBackend is the key of the endpoints of [LocalCluster]. The cluster itself is in the bootstrap.
func LocalBackend() BackendKey { return BackendKey{Kind: kindLocal} }

// IsLocal says whether the key is that of [LocalBackend].
func (k BackendKey) IsLocal() bool { return k.Kind == kindLocal }

// ZonePreference says when requests stay in the zone of the proxy. The zero value says never.
type ZonePreference struct {
	// MinEndpoints is how many endpoints there have to be in all zones, MinLocal how many in the zone of the proxy.
	MinEndpoints uint64
	MinLocal     uint32
}
