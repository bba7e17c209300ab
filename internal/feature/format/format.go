// Package format reads texts in which Envoy Gateway's API allows command operators of Envoy's access logs, such as
// %PROTOCOL%, and keeps those that people may use apart from everything else.
package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/operator"
)

// operators are the command operators that say something of the request, its connection or its answer. Together with
// those that begin with one of the families they may be used.
var operators = []string{
	"BYTES_RECEIVED", "CEL", "CONNECTION_ID", "DURATION", "DYNAMIC_METADATA", "FILTER_CHAIN_NAME", "FILTER_STATE",
	"HOSTNAME", "METADATA", "PATH", "PROTOCOL", "QUERY_PARAM", "QUERY_PARAMS", "REQ", "REQUESTED_SERVER_NAME",
	"REQUEST_DURATION", "REQUEST_HEADER", "REQUEST_HEADERS_BYTES", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS",
	"RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "ROUTE_NAME", "SPAN_ID", "START_TIME", "START_TIME_LOCAL", "STREAM_ID",
	"TLS_JA3_FINGERPRINT", "TLS_JA4_FINGERPRINT", "TRACE_ID", "UNIQUE_ID", "VIRTUAL_CLUSTER_NAME",
}

var families = []string{"DOWNSTREAM_", "UPSTREAM_"}

// secret are the operators that show the proxy's environment to whoever asks. COALESCE tries others, this one too.
var secret = []string{"COALESCE", "ENVIRONMENT"}

// Text returns a text for Envoy, and whether it is dynamic: a format for Envoy's formatter. What is no operator that
// may be used is text, a percent sign too, and %% is a percent sign everywhere. It fails for operators that route
// authors may not use.
//
// Those that may be used are a list, and not those that may not, so that one that a later version of Envoy brings is
// text until somebody has looked at it.
func Text(from string) (text string, dynamic bool, err error) {
	var plain, formatted strings.Builder
	for len(from) > 0 {
		at := strings.IndexByte(from, '%')
		if at < 0 {
			at = len(from)
		}
		plain.WriteString(from[:at])
		formatted.WriteString(from[:at])
		if from = from[at:]; from == "" {
			break
		}
		taken := 1
		if name, size := operator.Parse(from); slices.Contains(secret, name) {
			return "", false, fmt.Errorf("the operator %%%s%% can show the environment of the proxy: remove it", name)
		} else if allowed(name) {
			dynamic = true
			formatted.WriteString(from[:size])
			from = from[size:]
			continue
		}
		if strings.HasPrefix(from, "%%") {
			taken = 2
		}
		plain.WriteByte('%')
		formatted.WriteString(header.Literal("%"))
		from = from[taken:]
	}
	if dynamic {
		return formatted.String(), true, nil
	}
	return plain.String(), false, nil
}

func allowed(name string) bool {
	return slices.Contains(operators, name) ||
		slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(name, f) })
}
