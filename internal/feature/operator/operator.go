// Package operator knows the command operators of Envoy's format strings (%REQ(HOST)%), for the features that hand
// formats on to Envoy: it refuses a whole listener or RouteConfiguration for one that it does not know.
package operator

import (
	"fmt"
	"slices"
	"strings"
)

// maxArgument bounds the argument of an operator in bytes, because a text can be long and full of what only begins
// like an operator.
const maxArgument = 256

// Parse returns the name and the size of the command operator that s, which begins with a percent sign, begins with,
// as Envoy's formatter parses it: %NAME%, %NAME(argument)% or either with :LENGTH before the last percent sign. The
// name is empty if there is none.
func Parse(s string) (name string, size int) {
	end := 1
	for end < len(s) && nameChar(s[end]) {
		end++
	}
	name = s[1:end]
	if name == "" || end == len(s) {
		return "", 0
	}
	if s[end] != '(' {
		if size = closing(s, end); size == 0 {
			return "", 0
		}
		return name, size
	}
	for i := end + 1; i < min(len(s), end+maxArgument) && s[i] != '\n'; i++ {
		if s[i] == ')' && closing(s, i+1) > 0 {
			return name, closing(s, i+1)
		}
	}
	return "", 0
}

// closing returns where the operator ends whose name and argument end at a position of s; 0 if they do not.
func closing(s string, at int) int {
	if at < len(s) && s[at] == ':' {
		digits := at + 1
		for at = digits; at < len(s) && '0' <= s[at] && s[at] <= '9'; at++ {
		}
		if at == digits {
			return 0
		}
	}
	if at < len(s) && s[at] == '%' {
		return at + 1
	}
	return 0
}

func nameChar(c byte) bool { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' }

// known are the operators of access logs in the Envoy that Sluice is built for, but for those that begin with one of
// the families.
var known = []string{
	"ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_RETRANSMITTED", "BYTES_SENT", "CEL", "CLUSTER_METADATA", "COALESCE",
	"COMMON_DURATION", "CONNECTION_ID", "CONNECTION_TERMINATION_DETAILS", "CUSTOM_FLAGS", "DURATION",
	"DYNAMIC_METADATA", "EMIT_TIME", "EMIT_TIME_LOCAL", "ENVIRONMENT", "FILTER_CHAIN_NAME", "FILTER_STATE",
	"GRPC_STATUS", "GRPC_STATUS_NUMBER", "HOSTNAME", "LOCAL_REPLY_BODY", "METADATA", "PACKETS_RETRANSMITTED", "PATH",
	"PROTOCOL", "QUERY_PARAM", "QUERY_PARAMS", "REQ", "REQUESTED_SERVER_NAME", "REQUEST_DURATION", "REQUEST_HEADER",
	"REQUEST_HEADERS_BYTES", "REQUEST_TX_DURATION", WithoutQuery, "RESP", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS",
	"RESPONSE_DURATION", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_HEADER", "RESPONSE_HEADERS_BYTES",
	"RESPONSE_TRAILER", "RESPONSE_TRAILERS_BYTES", "RESPONSE_TX_DURATION", "ROUNDTRIP_DURATION", "ROUTE_NAME", "SPAN_ID",
	"START_TIME", "START_TIME_LOCAL", "STREAM_ID", "TLS_JA3_FINGERPRINT", "TLS_JA4_FINGERPRINT", "TRACE_ID", "TRAILER",
	"TYPED_CEL", "UNIQUE_ID", "VIRTUAL_CLUSTER_NAME",
}

var families = []string{"DOWNSTREAM_", "UPSTREAM_"}

// WithoutQuery is the operator that needs the formatter extension envoy.formatter.req_without_query.
const WithoutQuery = "REQ_WITHOUT_QUERY"

// Check returns what Envoy would refuse of a format, nil if it takes it: an operator that it does not know, or a
// percent sign that no operator begins with. %% is a percent sign.
func Check(format string) error {
	for {
		at := strings.IndexByte(format, '%')
		if at < 0 {
			return nil
		}
		format = format[at:]
		name, size := Parse(format)
		switch {
		case strings.HasPrefix(format, "%%"):
			size = 2
		case name == "":
			return fmt.Errorf("%q begins no command operator: write %%%% for a percent sign", excerpt(format))
		case !slices.Contains(known, name) && !slices.ContainsFunc(families, func(f string) bool {
			return strings.HasPrefix(name, f)
		}):
			return fmt.Errorf("Envoy knows no command operator %%%s%%", name)
		}
		format = format[size:]
	}
}

// Uses reports whether a format has an operator.
func Uses(format, operator string) bool {
	for at := strings.IndexByte(format, '%'); at >= 0; at = strings.IndexByte(format, '%') {
		name, size := Parse(format[at:])
		if name == operator {
			return true
		}
		format = format[at+max(size, 1):]
	}
	return false
}

// excerpt is the beginning of a text, for messages.
func excerpt(text string) string {
	const most = 20
	if len(text) > most {
		return text[:most]
	}
	return text
}
