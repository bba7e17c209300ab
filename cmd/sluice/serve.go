package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// serveFlags are the flags of sluice serve.
type serveFlags struct {
	controllers          []string
	kubeconfig           string
	namespace            string
	watchNamespaces      []string
	xds, admin           string
	caSecret             string
	elect                bool
	lease, renew, retry  time.Duration
	drain                time.Duration
	pushes               pushFlags
	envoyImage, ownImage string
	// service and clusterDomain make up the name under which Envoys find the replicas.
	service, clusterDomain string
	// peers are where the replicas are, if not behind the service.
	peers []string
	// ratelimit is the Service of `sluice ratelimit` in Sluice's own namespace, empty for none; limits is how Envoys ask.
	ratelimit string
	limits    limitFlags
	// watchSelector selects the namespaces to watch by their labels; empty for those of watchNamespaces, or all.
	watchSelector string
	// noEnvoys says that Envoys are somebody else's.
	noEnvoys bool
	config   configFlag
	settings

	extensions extensionFlags
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a Kubernetes cluster",
		Long: `Read Gateway API objects from the API server, run the control plane of the Envoys in the cluster, and write
statuses. Any number of replicas can run: all of them serve Envoys, one elected leader writes.

Envoys are served over mutual TLS only, with certificates that Sluice makes and renews itself, or that a CA in a Secret
signs. While the API server is away, everything is served as it was last known.`,
		Example: "  sluice serve --namespace sluice-system\n" +
			"  sluice serve --controller-name gateway.envoyproxy.io/gatewayclass-controller",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := f.config.load(envoygateway.Serve)
			if err != nil {
				return err
			}
			if err := errors.Join(f.take(cmd, config), f.check()); err != nil {
				return err
			}
			c := newControlPlane(f, cmd.ErrOrStderr())
			for _, n := range config.Notices {
				c.log.Warn("A note on the configuration file", "note", n.String())
			}
			return c.run(cmd.Context())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *serveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.config.register(cmd)
	flags.StringArrayVar(&f.controllers, "controller-name", []string{controllerName},
		"The controllerName of the GatewayClasses to serve; repeatable")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "How to reach the API server (default: as a Pod, or $KUBECONFIG)")
	flags.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"),
		"Sluice's own namespace (default: $POD_NAMESPACE)")
	flags.StringArrayVar(&f.watchNamespaces, "watch-namespace", nil,
		"Read only the objects of this namespace, and of Sluice's own; repeatable (default: all)")
	flags.StringVar(&f.watchSelector, "watch-namespace-selector", "",
		"Read only the objects of namespaces with these labels, and of Sluice's own: team=web,env!=test")
	flags.StringVar(&f.xds, "xds-address", "0.0.0.0:18000", "Where Envoys are served")
	flags.StringVar(&f.admin, "admin-address", defaultAdminAddress,
		"Address of health and metrics; the rest of the admin API answers on loopback only")
	flags.StringVar(&f.caSecret, "ca-secret", "",
		"A kubernetes.io/tls Secret with the CA to sign with, such as cert-manager's (default: Sluice's own CA)")
	flags.BoolVar(&f.elect, "leader-elect", true, "Elect a leader among replicas; without it, run one replica only")
	flags.DurationVar(&f.lease, "lease-duration", 15*time.Second, "How long others wait for a leader that is silent")
	flags.DurationVar(&f.renew, "renew-deadline", 10*time.Second, "How long a leader tries to stay one")
	flags.DurationVar(&f.retry, "retry-period", 2*time.Second, "How often replicas look at the Lease")
	f.pushes.register(cmd)
	flags.DurationVar(&f.drain, "shutdown-timeout", 10*time.Second,
		"How long Envoys have to move to another replica at shutdown")
	flags.StringVar(&f.envoyImage, "envoy-image", "",
		"The image of the Envoys (default: the Envoy that Sluice is tested with)")
	flags.StringVar(&f.ownImage, "sluice-image", "", "The image of Sluice itself, for what runs beside each Envoy")
	flags.StringVar(&f.service, "service", "sluice",
		"Sluice's own Service, by which Envoys find the replicas, and these one another; installations in one namespace "+
			"have different ones")
	flags.StringArrayVar(&f.peers, "peer", nil,
		"Where another replica serves Envoys, host:port; repeatable (default: the endpoints of the Service)")
	flags.StringVar(&f.ratelimit, "ratelimit-service", "",
		"The Service of sluice ratelimit in Sluice's own namespace; without it policies with global rate limits are refused")
	f.limits.register(cmd)
	f.extensions.register(cmd, false)
	flags.StringVar(&f.clusterDomain, "cluster-domain", "cluster.local", "The cluster's DNS domain")
}

// leaseName is that of the Lease in Sluice's namespace that the leader holds. Like all that replicas share it is named
// after their Service: another installation in the same namespace has its own.
func (f *serveFlags) leaseName() string { return f.service }

// authoritySecret is the name of the Secret in Sluice's namespace that holds the certificate authorities.
func (f *serveFlags) authoritySecret() string { return f.service + "-authority" }

// seedSecret is the name of the Secret in Sluice's namespace from which the keys of sessions are made.
func (f *serveFlags) seedSecret() string { return f.service + "-sessions" }

// rateLimit is how Envoys ask about global rate limits, nil if there is nobody to ask.
func (f *serveFlags) rateLimit() *all.RateLimit {
	if f.ratelimit == "" {
		return nil
	}
	return f.limits.rateLimit()
}

// ratelimitSecret is the name of the Secret with the certificate of sluice ratelimit, empty for none.
func (f *serveFlags) ratelimitSecret() string {
	if f.ratelimit == "" {
		return ""
	}
	return f.ratelimit + "-identity"
}

func (f *serveFlags) check() error {
	f.namespace = cmp.Or(f.namespace, "sluice-system")
	switch {
	case len(f.controllers) == 0:
		return errors.New("--controller-name: name at least one controller")
	case f.elect && (f.lease <= f.renew || f.renew <= f.retry):
		return fmt.Errorf("--lease-duration (%s) must be longer than --renew-deadline (%s), and that longer than "+
			"--retry-period (%s)", f.lease, f.renew, f.retry)
	}
	if f.watchSelector == "" {
		// What belongs to Sluice itself is read in any case, such as the EnvoyProxy of a GatewayClass.
		if len(f.watchNamespaces) > 0 {
			f.watchNamespaces = append(f.watchNamespaces, f.namespace)
		}
		return nil
	}
	if len(f.watchNamespaces) > 0 {
		return errors.New("--watch-namespace and --watch-namespace-selector exclude each other")
	}
	if _, err := labels.Parse(f.watchSelector); err != nil {
		return fmt.Errorf("--watch-namespace-selector: %w", err)
	}
	return nil
}

// watch says which namespaces are watched, nil for all.
func (f *serveFlags) watch() *resource.Scope {
	switch {
	case f.watchSelector != "":
		selector, _ := labels.Parse(f.watchSelector) // it was checked
		return &resource.Scope{Namespaces: []string{f.namespace}, Selector: selector}
	case len(f.watchNamespaces) > 0:
		return &resource.Scope{Namespaces: f.watchNamespaces}
	}
	return nil
}
