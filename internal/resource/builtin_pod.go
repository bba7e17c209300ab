package resource

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkPod validates what Sluice reads of a Pod: where it is. What it runs is nobody's business here, so a Pod in a
// file needs no containers.
func checkPod(p *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	check := func(path *field.Path, ip string) {
		if _, err := netip.ParseAddr(ip); err != nil {
			errs = append(errs, field.Invalid(path, ip, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
		}
	}
	if p.Status.PodIP != "" {
		check(path.Child("podIP"), p.Status.PodIP)
	}
	for i, ip := range p.Status.PodIPs {
		check(path.Child("podIPs").Index(i).Child("ip"), ip.IP)
	}
	return errs
}
