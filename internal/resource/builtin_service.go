package resource

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// protocols are the transports that a port can have.
var protocols = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}

func defaultService(s *corev1.Service) {
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	if s.Spec.SessionAffinity == "" {
		s.Spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func checkService(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	types := []corev1.ServiceType{
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer,
		corev1.ServiceTypeNodePort,
	}
	if !slices.Contains(types, s.Spec.Type) {
		errs = append(errs, field.NotSupported(spec.Child("type"), s.Spec.Type, types))
	}
	external := s.Spec.Type == corev1.ServiceTypeExternalName
	if external {
		for _, msg := range validation.IsDNS1123Subdomain(s.Spec.ExternalName) {
			errs = append(errs, field.Invalid(spec.Child("externalName"), s.Spec.ExternalName, msg))
		}
	}
	if len(s.Spec.Ports) == 0 && !external && s.Spec.ClusterIP != corev1.ClusterIPNone {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	return append(errs, checkServicePorts(s.Spec.Ports, spec.Child("ports"))...)
}

func checkServicePorts(ports []corev1.ServicePort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	numbers := map[string]bool{}
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		switch {
		case p.Name == "" && len(ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		case p.Name != "":
			errs = append(errs, each(at.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
			if names[p.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
		}
		names[p.Name] = true
		errs = append(errs, each(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
		errs = append(errs, checkProtocol(p.Protocol, at.Child("protocol"))...)
		errs = append(errs, checkTargetPort(p, at.Child("targetPort"))...)
		number := fmt.Sprintf("%s/%d", p.Protocol, p.Port)
		if numbers[number] {
			errs = append(errs, field.Duplicate(at, number))
		}
		numbers[number] = true
	}
	return errs
}

func checkTargetPort(p *corev1.ServicePort, path *field.Path) field.ErrorList {
	switch {
	case p.TargetPort.Type == intstr.String:
		return each(path, p.TargetPort.StrVal, validation.IsValidPortName(p.TargetPort.StrVal))
	case p.TargetPort.IntVal == p.Port:
		return nil // what is wrong with it is said of the port that it defaults to
	}
	return each(path, p.TargetPort.IntVal, validation.IsValidPortNum(p.TargetPort.IntValue()))
}

// each makes an error of each message about a value.
func each(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func checkProtocol(p corev1.Protocol, path *field.Path) field.ErrorList {
	if slices.Contains(protocols, p) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, p, protocols)}
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Name == nil {
			p.Name = new(string)
		}
		if p.Protocol == nil {
			tcp := corev1.ProtocolTCP
			p.Protocol = &tcp
		}
	}
}

// The API server's limits of an EndpointSlice.
const (
	maxEndpoints      = 1000
	maxEndpointPorts  = 100
	maxEndpointAddrs  = 100
	errAddressMissing = "must contain at least 1 address"
)

func checkEndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	var errs field.ErrorList
	types := []discoveryv1.AddressType{
		discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN,
	}
	typePath := field.NewPath("addressType")
	switch {
	case s.AddressType == "":
		errs = append(errs, field.Required(typePath, ""))
	case !slices.Contains(types, s.AddressType):
		errs = append(errs, field.NotSupported(typePath, s.AddressType, types))
	}
	endpoints := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		errs = append(errs, field.TooMany(endpoints, len(s.Endpoints), maxEndpoints))
	}
	for i := range s.Endpoints {
		path := endpoints.Index(i).Child("addresses")
		errs = append(errs, checkAddresses(s.AddressType, s.Endpoints[i].Addresses, path)...)
	}
	return append(errs, checkEndpointPorts(s.Ports, field.NewPath("ports"))...)
}

func checkAddresses(kind discoveryv1.AddressType, addresses []string, path *field.Path) field.ErrorList {
	switch {
	case len(addresses) == 0:
		return field.ErrorList{field.Required(path, errAddressMissing)}
	case len(addresses) > maxEndpointAddrs:
		return field.ErrorList{field.TooMany(path, len(addresses), maxEndpointAddrs)}
	}
	var errs field.ErrorList
	for i, address := range addresses {
		at := path.Index(i)
		switch ip, err := netip.ParseAddr(address); kind {
		case discoveryv1.AddressTypeIPv4:
			if err != nil || !ip.Is4() {
				errs = append(errs, field.Invalid(at, address, "must be an IPv4 address"))
			}
		case discoveryv1.AddressTypeIPv6:
			if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
				errs = append(errs, field.Invalid(at, address, "must be an IPv6 address"))
			}
		case discoveryv1.AddressTypeFQDN:
			errs = append(errs, validation.IsFullyQualifiedDomainName(at, address)...)
		}
	}
	return errs
}

func checkEndpointPorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(ports) > maxEndpointPorts {
		errs = append(errs, field.TooMany(path, len(ports), maxEndpointPorts))
	}
	names := map[string]bool{}
	for i, p := range ports {
		at := path.Index(i)
		if *p.Name != "" {
			errs = append(errs, each(at.Child("name"), *p.Name, validation.IsDNS1123Label(*p.Name))...)
		}
		if names[*p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), *p.Name))
		}
		names[*p.Name] = true
		if p.Port != nil {
			errs = append(errs, each(at.Child("port"), *p.Port, validation.IsValidPortNum(int(*p.Port)))...)
		}
		errs = append(errs, checkProtocol(*p.Protocol, at.Child("protocol"))...)
	}
	return errs
}
