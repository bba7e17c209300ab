package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	clusterdnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Remote is a control plane that an Envoy reaches over the network, with mutual TLS 1.3.
type Remote struct {
	// Host is a DNS name or an address: of all replicas together. Port is that of xDS.
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
		return errors.New("host, port, identity and the paths of both SDS files of the control plane are required")
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

// cluster is the cluster of the control plane.
func (r *Remote) cluster() (*clusterv3.Cluster, error) {
	options, err := anypb.New(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
						Interval: durationpb.New(keepaliveInterval), Timeout: durationpb.New(keepaliveTimeout),
					}},
				},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("marshal the protocol options of the xDS cluster: %w", err)
	}
	socket, err := r.transportSocket()
	if err != nil {
		return nil, err
	}
	names, err := anypb.New(&dnsv3.DnsCluster{
		DnsLookupFamily: clusterdnsv3.DnsLookupFamily_ALL, RespectDnsTtl: true, DnsRefreshRate: durationpb.New(dnsRefresh),
	})
	if err != nil {
		return nil, fmt.Errorf("marshal the DNS settings of the xDS cluster: %w", err)
	}
	return &clusterv3.Cluster{
		Name: XDSCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns", TypedConfig: names,
		}},
		ConnectTimeout:  durationpb.New(remoteConnectTimeout),
		TransportSocket: socket,
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
		},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: XDSCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
						Endpoint: &endpointv3.Endpoint{Address: socketAddress(r.Host, r.Port)},
					},
				}},
			}},
		},
	}, nil
}

// remoteConnectTimeout is for TCP and TLS. A replica that hangs takes connections, in its kernel, and never says more:
// an Envoy that is sent there once more has to try again soon.
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
		return nil, fmt.Errorf("marshal the TLS settings of the xDS cluster: %w", err)
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

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
