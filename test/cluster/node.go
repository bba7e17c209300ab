package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// pauseImage is the name under which containerd finds the pause program.
const pauseImage = "registry.k8s.io/pause:3.10"

func (c *Cluster) containerdSocket(node Node) string { return c.path(node.Name, "containerd.sock") }

// startContainerd starts the container runtime of a node.
func (c *Cluster) startContainerd(node Node) error {
	at := func(parts ...string) string { return c.path(append([]string{node.Name}, parts...)...) }
	if err := os.MkdirAll(at("cni"), 0o700); err != nil {
		return err
	}
	if err := c.writeCNI(node, at("cni", "10-pods.conflist")); err != nil {
		return err
	}
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
# Nothing of it is used, and it has folders that all containerds of the machine share.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = %q
[plugins.'io.containerd.cri.v1.images']
  snapshotter = %q
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q
[plugins.'io.containerd.cri.v1.runtime']
  # Whoever may not raise the priority of a process can still start pods.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = %q
      Root = %q
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = %q
`, at("containerd"), at("run"), c.containerdSocket(node), snapshotter(c.Dir), pauseImage,
		c.path("bin", "runc"), at("runc"), c.Bin(), at("cni"))
	if err := os.WriteFile(at("containerd.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	return c.start(Process{
		Name: "containerd-" + node.Name, Machine: node.Name, Args: []string{"containerd", "-c", at("containerd.toml")},
	})
}

func (c *Cluster) writeCNI(node Node, path string) error {
	data, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0", "name": "pods",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
				"ipam": map[string]any{
					"type": "host-local", "dataDir": c.path(node.Name, "ipam"),
					"ranges": []any{[]any{map[string]any{"subnet": node.PodCIDR}}},
					"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
				},
			},
			map[string]any{
				"type": "portmap", "backend": "nftables", "capabilities": map[string]any{"portMappings": true},
			},
		},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// startNode starts kubelet and kube-proxy of a node.
func (c *Cluster) startNode(node Node) error {
	kubelet, err := c.writeConfig(node, "kubelet", c.kubeletConfig(node))
	if err != nil {
		return err
	}
	proxy, err := c.writeConfig(node, "kube-proxy", map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": c.kubeconfigOf("proxy")},
		"mode":             "nftables", "clusterCIDR": podRange,
		// Without these it changes limits of the whole machine.
		"conntrack": map[string]any{"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
	if err != nil {
		return err
	}
	// Programs of the machine's init system are told where to look by these; there is none here.
	if err := os.WriteFile(c.path(node.Name, "resolv.conf"), nil, 0o600); err != nil {
		return err
	}
	err = c.start(Process{Name: "kubelet-" + node.Name, Machine: node.Name, Args: []string{
		"kubelet", "--config=" + kubelet, "--kubeconfig=" + c.kubeconfigOf(node.Name),
		"--root-dir=" + c.path(node.Name, "kubelet"), "--cert-dir=" + c.path(node.Name, "pki"),
		"--node-ip=" + node.IP, "--hostname-override=" + node.Name,
		"--node-labels=topology.kubernetes.io/region=local,topology.kubernetes.io/zone=" + zoneOf(node),
	}})
	if err != nil {
		return err
	}
	return c.start(Process{Name: "kube-proxy-" + node.Name, Machine: node.Name, Args: []string{
		"kube-proxy", "--config=" + proxy, "--hostname-override=" + node.Name,
	}})
}

// zoneOf gives each node a zone of its own, for what prefers near endpoints.
func zoneOf(node Node) string { return strings.Replace(node.Name, "node", "zone", 1) }

func (c *Cluster) kubeletConfig(node Node) map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + c.containerdSocket(node),
		// All containers of the node are in one group, below the cluster's, and their requests are not enforced: a cluster
		// for tests asks for more than there is.
		"cgroupDriver": "cgroupfs", "cgroupRoot": "/" + string(c.containerGroup(node)), "cgroupsPerQOS": true,
		"enforceNodeAllocatable": []string{}, "failCgroupV1": false, "failSwapOn": false,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": c.pki("ca.crt")},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"evictionHard": map[string]any{
			// Not a share of the disk, of which a quota may leave us little.
			"memory.available": "50Mi", "nodefs.available": "300Mi", "nodefs.inodesFree": "1%", "imagefs.available": "300Mi",
		},
		// An image that was removed could not be had again.
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"clusterDNS": []string{controlIP}, "clusterDomain": domain, "resolvConf": c.path(node.Name, "resolv.conf"),
		"maxPods": 200, "serializeImagePulls": false,
		// A program that a test kills time and again comes back at once.
		"crashLoopBackOff": map[string]any{"maxContainerRestartPeriod": "1s"},
		"featureGates":     map[string]any{"ClusterTrustBundle": true, "ClusterTrustBundleProjection": true},
	}
}

// writeConfig writes a configuration file of a node and returns its path.
func (c *Cluster) writeConfig(node Node, name string, config map[string]any) (string, error) {
	data, err := yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	path := c.path(node.Name, name+".yaml")
	return path, os.WriteFile(path, data, 0o600)
}
