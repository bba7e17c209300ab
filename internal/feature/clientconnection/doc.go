// Package clientconnection is what a ClientTrafficPolicy says of connections before anybody speaks HTTP: the fields
// connection, tcpKeepalive, proxyProtocol and enableProxyProtocol.
//
// connection.connectionLimit.value and closeDelay are max_connections and delay of Envoy's connection_limit, for each
// filter chain: the plain HTTP listeners of a port, an HTTPS listener, or a TLSRoute or TCPRoute on a listener have
// so many connections in each Envoy. maxRequestsPerConnection, maxConnectionDuration and maxStreamDuration are the
// fields of these names in common_http_protocol_options; the duration of a connection of HTTP/1 ends with a response
// (http1_safe_max_connection_duration) unless http1.disableSafeMaxConnectionDuration says otherwise, and for
// connections that are passed on it is max_downstream_connection_duration.
//
// The rest is of the whole port. bufferLimit is per_connection_buffer_limit_bytes, maxAcceptPerSocketEvent
// max_connections_to_accept_per_socket_event; socketBufferLimit, which Envoy Gateway does not implement, and
// tcpKeepalive are socket_options that connections take over from the socket that accepts them: SO_RCVBUF and
// SO_SNDBUF, SO_KEEPALIVE, TCP_KEEPCNT, TCP_KEEPIDLE and TCP_KEEPINTVL. proxyProtocol, like enableProxyProtocol that
// it takes the place of, is Envoy's listener filter proxy_protocol, before all others.
//
// Defaults: 32 KiB of bufferLimit, one connection accepted per event, which leaves the next one to other threads. All
// else is off.
package clientconnection
