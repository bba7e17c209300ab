package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// secretWords are what must be nowhere but where it is used: what is in Secrets, in the clear and as they write it.
func secretWords(plain ...string) []string {
	out := plain
	for _, word := range plain {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(word)))
	}
	return out
}

// keyLine is a line from the middle of a key in PEM.
func keyLine(key []byte) string { return strings.Split(string(key), "\n")[1] }

// TestA51SecretsAreNowhere uses Secrets in every way that there is, and looks for what is in
// them: in logs, statuses, metrics, the admin API, Envoy's configuration dump, what commands print, what processes are
// started with, and files.
func TestA51SecretsAreNowhere(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, "a.example", "ecdsa", "a.example")
	const hash = "{SHA}piGucRdTwGb7+i3S1svNik60+fw="
	secret := func(name, data string) string {
		return "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData: {" + data + "}\n"
	}
	all := signers(t)
	in := start(t, files{
		"gateway.yaml": tlsGateway, "backends.yaml": backendsYAML, "tls.yaml": tlsSecret("server", cert, key),
		"routes.yaml": secret("users", ".htpasswd: \"alice:"+hash+"\"") + secret("keys", "alice: key-of-alice-7f3a") +
			secret("token", "credential: Bearer injected-9b1c") +
			secret("client", "client-secret: secret-of-client-5d2e") +
			guardedRoute("basic", "  basicAuth: {users: {name: users}}") +
			guardedRoute("key", "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}") +
			guardedRoute("jwt", "  jwt:"+jwtProvider(keySet(all), "")) +
			guardedRoute("login", `  oidc:
    provider: {issuer: "https://issuer.example", authorizationEndpoint: "https://issuer.example/a",
      tokenEndpoint: "https://issuer.example/t"}
    clientID: us
    clientSecret: {name: client}
    redirectURL: "https://login.example/back"`) +
			routeFilter("inject", "{credentialInjection: {credential: {valueRef: {name: token}}}}") +
			hostRoute("inject", "[{filters: ["+uses("inject")+"], backendRefs: [{${one}}]}]") +
			// These cannot be used, and what is wrong is said.
			secret("bad", `.htpasswd: "mallory:plain-password-3c4d"`) +
			guardedRoute("bad", "  basicAuth: {users: {name: bad}}") +
			tlsSecret("broken", cert, []byte("-----BEGIN PRIVATE KEY-----\nbm90LWEta2V5LTg4YWE=\n-----END PRIVATE KEY-----\n")),
	})
	secure := func(host string, header ...string) request {
		return request{
			host: host, port: "HTTPS", tls: &tls.Config{ServerName: host, InsecureSkipVerify: true}, header: header,
		}
	}
	token := all["ES256"].token(claimsOf(nil))
	runChecks(t, in, map[string]check{
		"password":   {secure("basic.example", basic("alice", "open-sesame")), expect{backend: "one"}},
		"key":        {secure("key.example", "x-key: key-of-alice-7f3a"), expect{backend: "one"}},
		"token":      {secure("jwt.example", token), expect{backend: "one"}},
		"credential": {secure("inject.example"), expect{received: []string{"authorization: Bearer injected-9b1c"}}},
		"login":      {secure("login.example"), expect{status: 302}},
		"bad":        {secure("bad.example", basic("mallory", "plain-password-3c4d")), expect{status: 500}},
	})
	in.write("tls.yaml", tlsSecret("server", cert, []byte("no key at all: 77cc")))
	in.condition(t, conditionWant{
		kind: "Gateway", name: "default/gw", listener: "https", condition: "ResolvedRefs=False/InvalidCertificateRef",
	})

	words := secretWords("key-of-alice-7f3a", "injected-9b1c", "secret-of-client-5d2e", hash, hash[len("{SHA}"):],
		"plain-password-3c4d", "not-a-key-88aa", "open-sesame", keyLine(key), "no key at all: 77cc")
	words = append(words, strings.TrimPrefix(token, "authorization: Bearer "))
	places := map[string]string{"the output": in.process.output.String()}
	for _, path := range []string{"/status", "/config", "/metrics", "/debug/pprof/goroutine?debug=2"} {
		body, err := in.get(path)
		if err != nil {
			t.Fatal(err)
		}
		places[path] = string(body)
	}
	for _, args := range [][]string{
		{"translate", in.config, "-o", "json"}, {"translate", in.config}, {"validate", in.config},
		{"status", "-o", "yaml", "--admin-address", in.admin},
	} {
		stdout, stderr, _ := sluice(t, args...)
		places["sluice "+strings.Join(args[:1], " ")] += stdout + stderr
	}
	for _, path := range []string{"/config_dump", "/stats", "/clusters?format=json", "/certs"} {
		places["Envoy's "+path] = in.askEnvoy(t, path)
	}
	for pid, command := range in.running() {
		places["the command line"] += command
		environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if err != nil {
			t.Fatal(err)
		}
		places["the environment"] += string(environment)
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("there is nothing in %s", place)
		}
		for _, word := range words {
			if strings.Contains(text, word) {
				t.Errorf("%q is in %s", word, place)
			}
		}
	}
	in.checkModes(t)
}

// checkModes checks that nobody else may read what the instance writes.
func (in *instance) checkModes(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"state", "run"} {
		err := filepath.WalkDir(filepath.Join(in.root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink { // a link has no mode, but what it leads to
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has the mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestA04ForeignCertificate has a Gateway name the certificate of another namespace: without a grant it is not shown to
// clients, and nobody learns whether it exists.
func TestA04ForeignCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, "bank.example", "ecdsa", "bank.example")
	there := inNamespace("bank", tlsSecret("server", cert, key))
	in := start(t, files{
		"gateway.yaml": httpsGateway([3]string{"stolen", "bank.example", "{name: server, namespace: bank}"},
			[3]string{"absent", "absent.example", "{name: absent, namespace: bank}"},
			[3]string{"own", "own.example", "{name: own}"}),
		"backends.yaml": backendsYAML, "own.yaml": ca.secret(t, "own", "ecdsa", "own.example"), "bank.yaml": there,
		"routes.yaml": attach("stolen", "stolen", "", "one") + attach("own", "own", "", "two"),
	})
	refused := func() {
		t.Helper()
		if conn, err := tls.Dial("tcp", in.address("HTTPS"), sni("bank.example", ca)); err == nil {
			_ = conn.Close()
			t.Error("the certificate is shown")
		}
	}
	in.must(t, request{host: "own.example", port: "HTTPS", tls: sni("own.example", ca)}, expect{backend: "two"})
	refused()
	messages := map[string]string{}
	for _, listener := range []string{"stolen", "absent"} {
		in.condition(t, conditionWant{
			kind: "Gateway", name: "default/gw", listener: listener, condition: "ResolvedRefs=False/RefNotPermitted",
		})
		messages[listener] = in.message(t, listener)
	}
	same := strings.NewReplacer("absent", "server", "listeners[1]", "listeners[0]")
	if got := same.Replace(messages["absent"]); got != messages["stolen"] {
		t.Errorf("who may not read a Secret learns whether it exists: %q and %q", messages["stolen"], messages["absent"])
	}
	for _, text := range []string{in.askEnvoy(t, "/config_dump"), in.askEnvoy(t, "/certs")} {
		if strings.Contains(text, "bank/server") || strings.Contains(text, "BEGIN CERTIFICATE") {
			t.Error("the certificate is in Envoy")
		}
	}
	in.write("grant.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: grant, namespace: bank}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]
  to: [{group: "", kind: Secret, name: server}]
`)
	in.want(t, request{host: "bank.example", port: "HTTPS", tls: sni("bank.example", ca)}, expect{backend: "one"})
	in.remove("grant.yaml")
	in.condition(t, conditionWant{
		kind: "Gateway", name: "default/gw", listener: "stolen", condition: "ResolvedRefs=False/RefNotPermitted",
	})
	eventually(t, func() error {
		conn, err := tls.Dial("tcp", in.address("HTTPS"), sni("bank.example", ca))
		if err != nil {
			return nil
		}
		_ = conn.Close()
		return errors.New("the certificate is still shown")
	})
}

// message is what is wrong with the references of a listener of the Gateway.
func (in *instance) message(t *testing.T, listener string) string {
	t.Helper()
	all, err := in.objects()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Kind == "Gateway" {
			for _, c := range all[i].conditions(listener) {
				if c.Type == "ResolvedRefs" {
					return c.Message
				}
			}
		}
	}
	t.Fatalf("the listener %s says nothing of its references", listener)
	return ""
}
