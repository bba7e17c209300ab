package resource_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
)

// shown says of each type that Gateways, HTTPRoutes, GRPCRoutes and the experimental kinds are made of which fields it
// has, and which tests show what becomes of them: that they do what they say, or are refused with a reason. A field
// that a new version of the API adds is in no list, and fails the test until somebody has decided about it.
var shown = map[string]struct{ fields, tests string }{
	"GatewaySpec": {"gatewayClassName listeners addresses infrastructure allowedListeners tls defaultScope",
		"TestOnlyOurGateways TestListenerStatus TestGatewayWideProblems TestListenerSet TestDefaultGateway"},
	"Listener": {"name hostname port protocol tls allowedRoutes filters",
		"TestA06ListenerIsolation TestParentRefs TestListenerStatus TestCertificate TestListenerFilters"},
	"ListenerTLSConfig":      {"mode certificateRefs options", "TestListenerStatus TestCertificate TestTLSRoute"},
	"SecretObjectReference":  {"group kind name namespace", "TestCertificateReferences"},
	"AllowedRoutes":          {"namespaces kinds", "TestAllowedNamespaces TestListenerStatus"},
	"RouteNamespaces":        {"from selector", "TestAllowedNamespaces"},
	"RouteGroupKind":         {"group kind", "TestListenerStatus"},
	"ListenerFilters":        {"requests", "TestListenerFilters"},
	"ListenerFilter":         {"type externalAuth extensionRef", "TestListenerFilters TestListenerStatus"},
	"HTTPExternalAuthFilter": {"protocol backendRef grpc http forwardBody", "TestExternalAuth TestListenerFilters"},
	"BackendObjectReference": {"group kind name namespace port", "TestBackendRefs TestA03ReferenceGrant"},
	"GRPCAuthConfig":         {"allowedHeaders", "TestExternalAuth TestListenerFilters"},
	"HTTPAuthConfig": {"path allowedHeaders allowedResponseHeaders",
		"TestExternalAuth TestForged TestPathPrefix"},
	"ForwardBodyConfig":        {"maxSize", "TestGolden"},
	"LocalObjectReference":     {"group kind name", "TestListenerStatus TestRuleFaults TestTracing"},
	"GatewaySpecAddress":       {"type value routability", "TestGatewayWideProblems TestFleetAddresses"},
	"GatewayInfrastructure":    {"labels annotations parametersRef", "TestFleetOfAGateway TestInvalidParameters"},
	"LocalParametersReference": {"group kind name", "TestInvalidParameters"},
	"AllowedListeners":         {"namespaces", "TestAllowedListeners"},
	"ListenerNamespaces":       {"from selector", "TestAllowedListeners"},
	"GatewayTLSConfig":         {"backend frontend", "TestClientCertificateToBackend TestClientValidation"},
	"GatewayBackendTLS":        {"clientCertificateRef", "TestClientCertificateToBackend"},
	"FrontendTLSConfig":        {"default perPort", "TestFrontendValidation"},
	"TLSConfig":                {"validation", "TestFrontendValidation"},
	"FrontendTLSValidation":    {"caCertificateRefs mode", "TestFrontendValidation TestClientValidation"},
	"ObjectReference":          {"group kind name namespace", "TestFrontendValidation"},
	"TLSPortConfig":            {"port tls", "TestFrontendValidation"},

	"HTTPRouteSpec":   {"CommonRouteSpec hostnames rules", "TestMatch TestHostnameIntersection"},
	"CommonRouteSpec": {"parentRefs useDefaultGateways", "TestParentRefs TestDefaultGateway"},
	"ParentReference": {"group kind namespace name sectionName port", "TestParentRefs TestRoutesOfListenerSets"},
	"HTTPRouteRule": {"name matches filters backendRefs timeouts retry sessionPersistence",
		"TestMatch TestTimeout TestRetry TestSessionPersistence"},
	"HTTPRouteMatch":      {"path headers queryParams method", "TestMatch"},
	"HTTPPathMatch":       {"type value", "TestMatch"},
	"HTTPHeaderMatch":     {"type name value", "TestMatch"},
	"HTTPQueryParamMatch": {"type name value", "TestMatch"},
	"HTTPRouteFilter": {"type requestHeaderModifier responseHeaderModifier requestMirror requestRedirect urlRewrite " +
		"cors " +
		"externalAuth extensionRef",
		"TestHeaderModifier TestMirror TestRedirect TestRewrite TestCORS TestRuleFaults"},
	"HTTPHeaderFilter":          {"set add remove", "TestHeaderModifier"},
	"HTTPHeader":                {"name value", "TestHeaderModifier"},
	"HTTPRequestMirrorFilter":   {"backendRef percent fraction", "TestMirror"},
	"Fraction":                  {"numerator denominator", "TestMirror TestSampling"},
	"HTTPRequestRedirectFilter": {"scheme hostname path port statusCode", "TestRedirect"},
	"HTTPPathModifier":          {"type replaceFullPath replacePrefixMatch", "TestRedirect TestRewrite"},
	"HTTPURLRewriteFilter":      {"hostname path", "TestRewrite"},
	"HTTPCORSFilter": {"allowOrigins allowCredentials allowMethods allowHeaders exposeHeaders maxAge",
		"TestCORS"},
	"HTTPBackendRef":     {"BackendRef filters", "TestExamples TestWeight"},
	"BackendRef":         {"BackendObjectReference weight", "TestWeight"},
	"HTTPRouteTimeouts":  {"request backendRequest", "TestTimeout"},
	"HTTPRouteRetry":     {"codes attempts backoff", "TestRetry"},
	"SessionPersistence": {"absoluteTimeout type cookie header", "TestSessionPersistence"},
	"CookieConfig":       {"name path lifetimeType", "TestSessionPersistence"},
	"HeaderConfig":       {"name", "TestSessionPersistence"},

	"GRPCRouteSpec":   {"CommonRouteSpec hostnames rules", "TestGRPC"},
	"GRPCRouteRule":   {"name matches filters backendRefs sessionPersistence", "TestGRPC TestGRPCMatches"},
	"GRPCRouteMatch":  {"method headers", "TestGRPC TestGRPCMatches"},
	"GRPCMethodMatch": {"type service method", "TestGRPC TestGRPCMatches"},
	"GRPCHeaderMatch": {"type name value", "TestGRPC TestGRPCMatches"},
	"GRPCRouteFilter": {"type requestHeaderModifier responseHeaderModifier requestMirror extensionRef",
		"TestGRPC TestMirror"},
	"GRPCBackendRef": {"BackendRef filters", "TestGRPC"},

	"BackendSpec": {"type port externalHostname endpointSelector sessionPersistence protocol tls",
		"TestXBackend TestXBackendProblems"},
	"BackendPort":             {"number", "TestXBackend TestXBackendProblems"},
	"ExternalHostnameBackend": {"hostname", "TestXBackend TestXBackendProblems"},
	"EndpointSelectorBackend": {"LabelSelector", "TestXBackend"},
	"LabelSelector":           {"matchLabels", "TestXBackend"},
	"BackendTLS":              {"mode clientCertificateRef validation", "TestXBackendProblems"},
	"BackendTLSPolicyValidation": {"caCertificateRefs wellKnownCACertificates hostname subjectAltNames",
		"TestBackendTLS TestXBackendProblems"},
	"SubjectAltName": {"type hostname uri", "TestBackendTLS"},
	"BackendTrafficPolicySpec": {"targetRefs retryConstraint sessionPersistence",
		"TestRetryBudget TestBackendTrafficPolicyStatus"},
	"LocalPolicyTargetReference": {"group kind name", "TestBackendTrafficPolicyStatus"},
	"RetryConstraint":            {"budget minRetryRate", "TestRetryBudget"},
	"BudgetDetails":              {"percent interval", "TestRetryBudget TestApplyCluster"},
	"RequestRate":                {"count interval", "TestRetryBudget TestApplyCluster"},
	"TelemetryPolicySpec":        {"targetRefs tracing", "TestTracing"},
	"TracingConfig": {"mode provider samplingRate parentBasedSampling serviceName spanName attributes",
		"TestTracing TestSampling"},
	"TracingProvider":     {"backendRef headers", "TestTracing"},
	"ParentBasedSampling": {"mode samplingRate", "TestTracing TestSampling"},
	"Attribute":           {"name sourceType headerName literalValue attributeKey", "TestTracing"},
}

// shownOfEnvoyGateway is the same for the kinds of Envoy Gateway that are applied in full; some types of the two APIs
// share a name.
var shownOfEnvoyGateway = map[string]struct{ fields, tests string }{
	"HTTPRouteFilterSpec": {"urlRewrite directResponse credentialInjection matches",
		"TestRegexRewrite TestDirectResponse TestHTTPRouteFilter TestCookieMatch"},
	"HTTPURLRewriteFilter":          {"hostname path appendXForwardedHost", "TestRegexRewrite"},
	"HTTPHostnameModifier":          {"type header pathRegex", "TestRegexRewrite"},
	"HostnamePathRegexRewrite":      {"pattern substitution", "TestRegexRewrite"},
	"HTTPPathModifier":              {"type replaceRegexMatch", "TestRegexRewrite"},
	"ReplaceRegexMatch":             {"pattern substitution", "TestRegexRewrite"},
	"HTTPDirectResponseFilter":      {"contentType body statusCode header", "TestDirectResponse"},
	"CustomResponseBody":            {"type inline valueRef", "TestDirectResponse"},
	"HTTPCredentialInjectionFilter": {"header overwrite credential", "TestCredentialInjection"},
	"InjectedCredential":            {"valueRef", "TestCredentialInjection"},
	"HTTPRouteMatchFilter":          {"cookies", "TestCookieMatch"},
	"HTTPCookieMatch":               {"type name value", "TestCookieMatch"},
}

func TestEveryFieldIsShown(t *testing.T) {
	everyFieldIsShown(t, shown, "sigs.k8s.io/gateway-api/",
		reflect.TypeFor[gwv1.GatewaySpec](), reflect.TypeFor[gwv1.HTTPRouteSpec](), reflect.TypeFor[gwv1.GRPCRouteSpec](),
		reflect.TypeFor[gwxv1a1.BackendSpec](), reflect.TypeFor[gwxv1a1.BackendTrafficPolicySpec](),
		reflect.TypeFor[gwxv1a1.TelemetryPolicySpec]())
	everyFieldIsShown(t, shownOfEnvoyGateway, "github.com/envoyproxy/gateway/",
		reflect.TypeFor[egv1a1.HTTPRouteFilterSpec]())
}

// everyFieldIsShown compares the types below the roots, of the packages of an API, with what is shown of them.
func everyFieldIsShown(
	t *testing.T, shown map[string]struct{ fields, tests string }, packages string, roots ...reflect.Type,
) {
	t.Helper()
	tests := testNames(t)
	seen := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			walk(typ.Elem())
			return
		}
		if typ.Kind() != reflect.Struct || !strings.HasPrefix(typ.PkgPath(), packages) || seen[typ.Name()] {
			return
		}
		seen[typ.Name()] = true
		want := shown[typ.Name()]
		if got := fieldsOf(typ); got != want.fields {
			t.Errorf("%s has the fields %q, but those of which a test shows what becomes of them are %q", typ, got, want.fields)
		}
		for i := range typ.NumField() {
			walk(typ.Field(i).Type)
		}
	}
	for _, root := range roots {
		walk(root)
	}
	for typ, s := range shown {
		if !seen[typ] {
			t.Errorf("%s is listed, but no part of the API", typ)
		}
		for _, name := range strings.Fields(s.tests) {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", typ, name)
			}
		}
	}
}

// fieldsOf lists the fields of a type by their names in manifests, embedded ones by that of their type.
func fieldsOf(typ reflect.Type) string {
	var names []string
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if name == "" {
			name = typ.Field(i).Name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// testNames are the names of all tests of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	out := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range test.FindAllSubmatch(text, -1) {
			out[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
