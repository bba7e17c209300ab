package kube

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// user is whom Envoy and the shutdown manager run as: "nonroot" of the distroless images.
const user = 65532

// The names of the containers, by which patches find them.
const (
	envoyContainer    = "envoy"
	shutdownContainer = "shutdown-manager"
)

// freePorts lets an ordinary user bind ports below 1024. It holds for the pod's own network alone, and Kubernetes
// counts it among the safe ones.
var freePorts = corev1.Sysctl{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}

// containerSpec is what the EnvoyProxy says of Envoy's container.
func (r *renderer) containerSpec() *egv1a1.KubernetesContainerSpec {
	switch {
	case r.provider.EnvoyDaemonSet != nil && r.provider.EnvoyDaemonSet.Container != nil:
		return r.provider.EnvoyDaemonSet.Container
	case r.provider.EnvoyDeployment != nil && r.provider.EnvoyDeployment.Container != nil:
		return r.provider.EnvoyDeployment.Container
	}
	return &egv1a1.KubernetesContainerSpec{}
}

func (r *renderer) podTemplate(own *egv1a1.KubernetesPodSpec, init []corev1.Container) corev1.PodTemplateSpec {
	if own == nil {
		own = &egv1a1.KubernetesPodSpec{}
	}
	none, grace := false, int64((r.drain.Timeout + terminationSlack).Seconds())
	priority := ""
	if own.PriorityClassName != nil {
		priority = *own.PriorityClassName
	}
	annotations := map[string]string{annotationConfig: r.configHash()}
	if r.scraped() {
		annotations = merged(annotations, map[string]string{
			"prometheus.io/scrape": "true", "prometheus.io/path": fleet.MetricsPath,
			"prometheus.io/port": strconv.Itoa(fleet.MetricsPort),
		})
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      merged(r.fleet.Labels, own.Labels, r.labels()),
			Annotations: merged(r.fleet.Annotations, annotations, own.Annotations),
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  &none,
			ServiceAccountName:            r.name(r.accountName()),
			TerminationGracePeriodSeconds: &grace,
			InitContainers:                init,
			Containers:                    []corev1.Container{r.envoy(), r.shutdownManager()},
			SecurityContext:               podSecurity(own.SecurityContext),
			Affinity:                      own.Affinity,
			Tolerations:                   own.Tolerations,
			Volumes:                       r.volumes(own.Volumes),
			ImagePullSecrets:              own.ImagePullSecrets,
			NodeSelector:                  own.NodeSelector,
			TopologySpreadConstraints:     own.TopologySpreadConstraints,
			PriorityClassName:             priority,
		},
	}
}

// scraped says whether pods are marked for Prometheus (EnvoyProxySpec.telemetry.metrics.prometheus.disable).
func (r *renderer) scraped() bool {
	t := r.spec.Telemetry
	return t == nil || t.Metrics == nil || t.Metrics.Prometheus == nil || !t.Metrics.Prometheus.Disable
}

// podSecurity is the "restricted" pod security standard, or what the EnvoyProxy says instead; low ports can be bound
// either way.
func podSecurity(own *corev1.PodSecurityContext) *corev1.PodSecurityContext {
	if own == nil {
		yes, id := true, int64(user)
		return &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, FSGroup: &id,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			Sysctls:        []corev1.Sysctl{freePorts},
		}
	}
	out := own.DeepCopy()
	if !slices.ContainsFunc(out.Sysctls, func(s corev1.Sysctl) bool { return s.Name == freePorts.Name }) {
		out.Sysctls = append(out.Sysctls, freePorts)
	}
	return out
}

func containerSecurity() *corev1.SecurityContext {
	yes, no, id := true, false, int64(user)
	return &corev1.SecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, AllowPrivilegeEscalation: &no, Privileged: &no,
		ReadOnlyRootFilesystem: &yes,
		Capabilities:           &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:         &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func (r *renderer) volumes(own []corev1.Volume) []corev1.Volume {
	out := []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: r.fleet.Name},
		}}},
		{Name: "identity", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: identityName(r.fleet.Name),
		}}},
		{Name: "run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory,
		}}},
	}
	return overlaid(out, own, func(v corev1.Volume) string { return v.Name })
}

// overlaid returns a list with the elements of another: in the place of those of the same name, or behind them.
func overlaid[T any](list, over []T, name func(T) string) []T {
	for _, o := range over {
		if i := slices.IndexFunc(list, func(v T) bool { return name(v) == name(o) }); i >= 0 {
			list[i] = o
		} else {
			list = append(list, o)
		}
	}
	return list
}

func (r *renderer) envoy() corev1.Container {
	own := r.containerSpec()
	security := own.SecurityContext
	if security == nil {
		security = containerSecurity()
	}
	resources := corev1.ResourceRequirements{Requests: requests("20m", "64Mi")}
	if own.Resources != nil {
		resources = *own.Resources
	}
	return corev1.Container{
		Name: envoyContainer, Image: r.envoyImage(own), ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"envoy"}, Args: r.arguments(),
		Env: overlaid([]corev1.EnvVar{
			fromField("POD_NAME", "metadata.name"),
			fromField("ZONE", "metadata.labels['"+corev1.LabelTopologyZone+"']"),
			// What formats of access logs, and tags of traces, name them by in Envoy Gateway.
			fromField("ENVOY_POD_NAMESPACE", "metadata.namespace"),
			fromField("ENVOY_POD_NAME", "metadata.name"),
		}, own.Env, func(e corev1.EnvVar) string { return e.Name }),
		Ports: []corev1.ContainerPort{
			{Name: "metrics", ContainerPort: fleet.MetricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "readiness", ContainerPort: fleet.ReadyPort, Protocol: corev1.ProtocolTCP},
		},
		VolumeMounts: overlaid([]corev1.VolumeMount{
			{Name: "config", MountPath: configDir, ReadOnly: true},
			{Name: "identity", MountPath: identityDir, ReadOnly: true},
			{Name: "run", MountPath: runDir},
		}, own.VolumeMounts, func(m corev1.VolumeMount) string { return m.MountPath }),
		Resources:       resources,
		SecurityContext: security,
		// However long Sluice takes to answer: an Envoy that starts while it is away waits, and is not started again.
		StartupProbe:   probe(2, 1800),
		ReadinessProbe: probe(5, 1),
		LivenessProbe:  probe(10, 3),
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: DrainedPath, Port: intstr.FromInt32(fleet.ShutdownPort), Scheme: corev1.URISchemeHTTP,
		}}},
	}
}

// DrainedPath is where the shutdown manager answers as soon as Envoy may end, and not before.
const DrainedPath = "/drained"

func (r *renderer) shutdownManager() corev1.Container {
	security := containerSecurity()
	if own := r.containerSpec().SecurityContext; own != nil && own.RunAsUser != nil {
		// The admin socket is for the user who runs Envoy alone.
		security.RunAsUser, security.RunAsGroup, security.RunAsNonRoot = own.RunAsUser, own.RunAsGroup, own.RunAsNonRoot
	}
	return corev1.Container{
		Name: shutdownContainer, Image: r.settings.SluiceImage, ImagePullPolicy: corev1.PullIfNotPresent,
		Args: []string{
			"shutdown-manager", "--admin-socket=" + AdminSocket, fmt.Sprintf("--address=:%d", fleet.ShutdownPort),
			"--drain-timeout=" + r.drain.Timeout.String(), "--min-drain-duration=" + r.drain.Min.String(),
			"--health-check-failure-delay=" + r.drain.HealthDelay.String(),
		},
		VolumeMounts:    []corev1.VolumeMount{{Name: "run", MountPath: runDir}},
		Resources:       corev1.ResourceRequirements{Requests: requests("1m", "16Mi")},
		SecurityContext: security,
	}
}

func requests(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}}
}

func probe(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: fleet.LivePath, Port: intstr.FromInt32(fleet.ReadyPort), Scheme: corev1.URISchemeHTTP,
		}},
		TimeoutSeconds: 1, PeriodSeconds: period, SuccessThreshold: 1, FailureThreshold: failures,
	}
}

// envoyImage is the image that the EnvoyProxy names, in full or without the tag.
func (r *renderer) envoyImage(own *egv1a1.KubernetesContainerSpec) string {
	switch {
	case own.Image != nil:
		return *own.Image
	case own.ImageRepository != nil:
		_, tag, _ := strings.Cut(r.settings.EnvoyImage[strings.LastIndex(r.settings.EnvoyImage, "/")+1:], ":")
		return *own.ImageRepository + ":" + tag
	}
	return r.settings.EnvoyImage
}

func (r *renderer) arguments() []string {
	level := r.spec.Logging.Level[egv1a1.LogComponentDefault]
	if level == "" {
		level = egv1a1.LogLevelWarn
	}
	out := []string{
		"--config-path", configDir + "/" + bootstrapFile, "--service-node", "$(POD_NAME)",
		"--service-cluster", string(r.fleet.Proxy), "--service-zone", "$(ZONE)", "--disable-hot-restart",
		// Envoy's own 10 s is long for somebody who looks at the log.
		"--file-flush-interval-msec", "1000",
		"--log-level", string(level), "--component-log-level", r.spec.Logging.GetEnvoyProxyComponentLevel(),
		// Every answer of an Envoy that drains asks its client to connect anew, not only more and more of them.
		"--drain-strategy", "immediate", "--drain-time-s", strconv.Itoa(int(r.drain.Timeout.Seconds())),
	}
	if c := r.spec.Concurrency; c != nil {
		out = append(out, "--concurrency", strconv.Itoa(int(*c)))
	}
	return append(out, r.spec.ExtraArgs...)
}
