// Package clienthttp is how a ClientTrafficPolicy has listeners speak HTTP: the fields http1, http2, http3, scheme,
// grpc and healthCheck.
//
// http3 has HTTPS listeners reached by QUIC too: package envoy makes the listener on the UDP port of the same number,
// and has answers say so (alt-svc). It is refused where clients show certificates, which Envoy does not verify over
// QUIC, where TLS 1.3 is not spoken, and where the PROXY protocol is demanded.
//
// http1 is http_protocol_options of the connection manager: enableTrailers enable_trailers, preserveHeaderCase the
// formatter preserve_case, http10 accept_http_10 and default_host_for_http_10, ignoredUpgradeTypes
// ignore_http_11_upgrade; disableSafeMaxConnectionDuration takes http1_safe_max_connection_duration back. http2 is
// http2_protocol_options. scheme: MatchBackend is scheme_header_transformation.match_upstream. grpc.enableWeb is
// Envoy's filter grpc_web, healthCheck its filter health_check, which answers before all others, and with 503 while
// Envoy shuts down.
//
// Defaults: HTTP/1.0 is refused, trailers of HTTP/1 are dropped, names of headers are lower case; 100 streams,
// windows of 64 KiB for a stream and 1 MiB for a connection; the scheme of the client. gRPC-Web is on for
// GRPCRoutes (package grpcweb); where grpc is there and does not enable it, it is off for these too.
package clienthttp
