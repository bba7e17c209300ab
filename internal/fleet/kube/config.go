package kube

import (
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// Where things are in a pod.
const (
	configDir   = "/etc/sluice/config"
	identityDir = "/etc/sluice/identity"
	runDir      = "/var/run/sluice"
	// AdminSocket is where Envoy serves its admin interface, for the shutdown manager in the same pod.
	AdminSocket = runDir + "/admin.sock"

	bootstrapFile, certificateFile, authorityFile = "bootstrap.json", "certificate.json", "authority.json"
)

// heapShare is how much of its memory limit an Envoy may fill before it refuses requests, in percent.
const heapShare = 80

// configure makes the files that Envoy reads.
func (r *renderer) configure() error {
	config := fleet.Config{
		Cluster: string(r.fleet.Proxy), AdminSocket: AdminSocket, ProbeBind: "0.0.0.0",
		Remote: remote(fleet.Remote{Host: r.settings.Server, Port: r.settings.Port, Identity: r.settings.Identity}),
	}
	if r.settings.RateLimit != nil {
		config.RateLimit = remote(*r.settings.RateLimit)
	}
	if f := r.spec.IPFamily; f != nil && *f != egv1a1.IPv4 {
		config.ProbeBind = "::"
	}
	if resources := r.containerSpec().Resources; resources != nil {
		if limit := resources.Limits.Memory().Value(); limit > 0 {
			config.MaxHeapBytes = uint64(limit) / 100 * heapShare
		}
	}
	var err error
	if config.Metrics, err = fleet.MetricsOf(r.spec, r.fleet.Sinks, r.settings.serviceDomain()); err != nil {
		return err
	}
	base, err := fleet.Bootstrap(config)
	if err != nil {
		return err
	}
	bootstrap, err := fleet.Patch(base, r.spec.Bootstrap)
	if err != nil {
		return err
	}
	certificate, authority, err := fleet.SecretFiles(identityDir)
	if err != nil {
		return fmt.Errorf("SDS files: %w", err)
	}
	r.files = map[string]string{
		bootstrapFile: string(bootstrap), certificateFile: string(certificate), authorityFile: string(authority),
	}
	return nil
}

// remote is a service as the Envoy of a pod reaches it.
func remote(r fleet.Remote) *fleet.Remote {
	r.CertificateSecret, r.AuthoritySecret = configDir+"/"+certificateFile, configDir+"/"+authorityFile
	return &r
}

// configHash is of all that an Envoy reads when it starts.
func (r *renderer) configHash() string {
	var all strings.Builder
	for _, name := range sortedKeys(r.files) {
		all.WriteString(name + "\x00" + r.files[name] + "\x00")
	}
	return hash([]byte(all.String()))
}

func (r *renderer) configMap() ([]object, error) {
	return []object{&corev1.ConfigMap{TypeMeta: typeMeta("v1", "ConfigMap"), ObjectMeta: r.meta(nil), Data: r.files}}, nil
}

func (r *renderer) serviceAccount() ([]object, error) {
	none := false
	return []object{&corev1.ServiceAccount{
		TypeMeta: typeMeta("v1", "ServiceAccount"), ObjectMeta: r.meta(r.accountName()),
		AutomountServiceAccountToken: &none,
	}}, nil
}

func (r *renderer) accountName() *string {
	if r.provider.EnvoyServiceAccount == nil {
		return nil
	}
	return r.provider.EnvoyServiceAccount.Name
}

// identityName is the name of the Secret with the certificate of the Envoys.
func identityName(fleetName string) string { return fleetName + "-xds" }
