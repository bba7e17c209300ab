package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterdnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Remote is a service of Sluice, the control plane or the one that counts requests, that an Envoy reaches over the
// network, with mutual TLS 1.3.
type Remote struct {
	// Host is a DNS name or an address: of all replicas together. Port is that of the service.
	Host string
	Port uint16
	// Identity is the URI SAN that the server's certificate must have.
	Identity string
	// CertificateSecret and AuthoritySecret are the paths of the SDS files that [SecretFiles] returns.
	CertificateSecret, AuthoritySecret string
}

const (
	// An xDS stream is quiet for hours: without PINGs nobody would notice a replica that hangs, or vanished without a
	// word, and the Envoys that it serves would stay with what they have. This is how long that may last. 1,000 Envoys
	// that ask so often take 3 % of a core.
	keepaliveInterval, keepaliveTimeout = 3 * time.Second, 2 * time.Second
	// dnsRefresh is how often the addresses of the replicas are looked up when the name server does not say.
	dnsRefresh = 10 * time.Second

	certificateName, authorityName = "sluice_xds_certificate", "sluice_xds_authority"
)

func (r *Remote) check() error {
	if r.Host == "" || r.Port == 0 || r.Identity == "" || r.CertificateSecret == "" || r.AuthoritySecret == "" {
		return errors.New("host, port, identity and the paths of both SDS files of a service are required")
	}
	return nil
}

// SecretFiles returns the contents of the two SDS files that name the certificate and key, and the certificate
// authority, by their paths in the folder dir: tls.crt, tls.key and ca.crt, as Secrets of type kubernetes.io/tls have
// them. Envoy reads them again when something is moved in the folder, which is how Kubernetes updates a Secret that is
// mounted.
func SecretFiles(dir string) (certificate, authority []byte, err error) {
	watched := &corev3.WatchedDirectory{Path: dir}
	certificate, err = secretFile(&tlsv3.Secret{
		Name: certificateName,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: file(dir + "/tls.crt"), PrivateKey: file(dir + "/tls.key"), WatchedDirectory: watched,
		}},
	})
	if err != nil {
		return nil, nil, err
	}
	authority, err = secretFile(&tlsv3.Secret{
		Name: authorityName,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: file(dir + "/ca.crt"), WatchedDirectory: watched,
		}},
	})
	return certificate, authority, err
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

func secretFile(s *tlsv3.Secret) ([]byte, error) {
	packed, err := anypb.New(s)
	if err != nil {
		return nil, fmt.Errorf("marshal the secret %s: %w", s.Name, err)
	}
	return indented(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed}})
}

// xdsKeepalive pings as seldom as an xDS stream needs, which is quiet for hours.
func xdsKeepalive() *corev3.KeepaliveSettings {
	return &corev3.KeepaliveSettings{
		Interval: durationpb.New(keepaliveInterval), Timeout: durationpb.New(keepaliveTimeout),
	}
}

// ratelimitKeepalive has a service that vanished noticed soon: until then each request waits for it, as long as it may.
func ratelimitKeepalive() *corev3.KeepaliveSettings {
	return &corev3.KeepaliveSettings{Interval: durationpb.New(time.Second), Timeout: durationpb.New(time.Second)}
}

// cluster is the cluster of a service.
func (r *Remote) cluster(name string, keepalive *corev3.KeepaliveSettings) (*clusterv3.Cluster, error) {
	socket, err := r.transportSocket()
	if err != nil {
		return nil, err
	}
	names, err := anypb.New(&dnsv3.DnsCluster{
		DnsLookupFamily: clusterdnsv3.DnsLookupFamily_ALL, RespectDnsTtl: true, DnsRefreshRate: durationpb.New(dnsRefresh),
	})
	if err != nil {
		return nil, fmt.Errorf("marshal the DNS settings of the cluster %s: %w", name, err)
	}
	return serviceCluster(&clusterv3.Cluster{
		Name: name,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns", TypedConfig: names,
		}},
		ConnectTimeout:  durationpb.New(remoteConnectTimeout),
		TransportSocket: socket,
	}, &corev3.Http2ProtocolOptions{ConnectionKeepalive: keepalive}, Address(r.Host, r.Port))
}

const remoteConnectTimeout = 3 * time.Second

func (r *Remote) transportSocket() (*corev3.TransportSocket, error) {
	config, err := anypb.New(&tlsv3.UpstreamTlsContext{
		// The dot that ends a full name is for the resolver: in SNI it is an error (RFC 6066 section 3).
		Sni: strings.TrimSuffix(r.Host, "."),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{
				TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
				TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			},
			AlpnProtocols: []string{"h2"},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{
				{Name: certificateName, SdsConfig: sdsFile(r.CertificateSecret)},
			},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: &tlsv3.CertificateValidationContext{
						MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
							SanType: tlsv3.SubjectAltNameMatcher_URI,
							Matcher: exact(r.Identity),
						}},
					},
					ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{
						Name: authorityName, SdsConfig: sdsFile(r.AuthoritySecret),
					},
				},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("marshal the TLS settings of %s: %w", r.Host, err)
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config},
	}, nil
}

func sdsFile(path string) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
			PathConfigSource: &corev3.PathConfigSource{Path: path},
		},
		ResourceApiVersion: corev3.ApiVersion_V3,
	}
}

// Address is a TCP address: a host name or an IP address, and a port.
func Address(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
