package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
)

// etcdURL is where etcd listens, in the network of the control plane.
const etcdURL = "http://127.0.0.1:2379"

// startControl starts what runs once in a cluster, and returns when the API server is ready and the rest was started.
func (c *Cluster) startControl(ctx context.Context) error {
	for _, p := range []Process{
		{Name: "etcd", Machine: Control, Args: c.etcdArgs()},
		{Name: "kube-apiserver", Machine: Control, Args: c.apiServerArgs()},
	} {
		if err := c.start(p); err != nil {
			return err
		}
	}
	// What works on the machine itself, outside of the cluster's networks, reaches the API server here.
	forward := Process{Name: "forwarder", Args: []string{
		"agent", "forward", "-pid", strconv.Itoa(c.Machines[0].PID), "-listen", portOf(c.APIPort),
		"-to", net.JoinHostPort(controlIP, apiServerPort),
	}}
	if err := c.start(forward); err != nil {
		return err
	}
	client, err := c.API()
	if err != nil {
		return err
	}
	err = c.await(ctx, "the API server to be ready", func(ctx context.Context) error {
		return client.Get(ctx, "/api/v1/namespaces/default", nil)
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("Corefile"), []byte(c.corefile()), 0o600); err != nil {
		return err
	}
	for _, p := range []Process{
		{Name: "coredns", Args: []string{"coredns", "-conf", c.path("Corefile")}},
		{Name: "kube-controller-manager", Args: c.controllerArgs()},
		{Name: "kube-scheduler", Args: []string{
			"kube-scheduler", "--kubeconfig=" + c.kubeconfigOf("scheduler"), "--leader-elect=false",
		}},
		{Name: "balancer", Args: []string{
			"agent", "balance", "-kubeconfig", c.InnerKubeconfig(), "-range", dynamicRange, "-static", staticRange,
		}},
	} {
		p.Machine = Control
		if err := c.start(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) etcdArgs() []string {
	return []string{
		"etcd", "--data-dir=" + c.path("etcd"), "--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
		// What a crash of the machine would lose is of no use to anyone.
		"--unsafe-no-fsync", "--log-level=warn",
	}
}

func (c *Cluster) apiServerArgs() []string {
	return []string{
		"kube-apiserver", "--etcd-servers=" + etcdURL, "--secure-port=" + apiServerPort,
		"--advertise-address=" + controlIP,
		"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
		"--client-ca-file=" + c.pki("ca.crt"),
		"--kubelet-client-certificate=" + c.pki("apiserver.crt"), "--kubelet-client-key=" + c.pki("apiserver.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file=" + c.pki("sa.key"), "--service-account-signing-key-file=" + c.pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc." + domain,
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		// There is no kube-proxy beside it: webhooks and aggregated servers are reached by their pods' addresses.
		"--enable-aggregator-routing=true",
		// The Gateway API names ClusterTrustBundles; Kubernetes has them off.
		"--feature-gates=ClusterTrustBundle=true",
		"--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true",
	}
}

func (c *Cluster) controllerArgs() []string {
	return []string{
		"kube-controller-manager", "--kubeconfig=" + c.kubeconfigOf("controller"), "--leader-elect=false",
		"--use-service-account-credentials=true", "--service-account-private-key-file=" + c.pki("sa.key"),
		"--root-ca-file=" + c.pki("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki("ca.crt"), "--cluster-signing-key-file=" + c.pki("ca.key"),
		// A node that is gone is noticed soon: tests wait for it.
		"--node-monitor-grace-period=20s", "--node-monitor-period=2s",
		// Tests delete namespaces by the dozen, and each takes a request for each kind.
		"--concurrent-namespace-syncs=20", "--kube-api-qps=500", "--kube-api-burst=1000",
	}
}

func (c *Cluster) corefile() string {
	return fmt.Sprintf(`.:53 {
  bind %s
  errors
  kubernetes %s in-addr.arpa ip6.arpa {
    kubeconfig %s
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 5
  }
  cache 5
}
`, controlIP, domain, c.InnerKubeconfig())
}
