package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// keyServer is where an issuer publishes its keys. An empty answer stands for one that is away: connections break.
type keyServer struct {
	url    string
	answer atomic.Value
}

func serveKeys(t *testing.T, answer string) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.answer.Store(answer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := s.answer.Load().(string)
		if text == "" {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(text)) // the client may be gone
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/keys"
	return s
}

// verifiedRoute is a route of the host verified.example for tokens with keys of the server, that says its version in a
// header.
func verifiedRoute(s *keyServer, version int) string {
	return hostRoute("verified", fmt.Sprintf(`
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-version, value: "%d"}]}}]
    backendRefs: [{${one}}]`, version)) + routePolicy("SecurityPolicy", "verified", "verified", `
  jwt:
    providers:
    - name: issuer
      issuer: https://issuer.example
      remoteJWKS: {uri: "`+s.url+`", cacheDuration: 5s}`)
}

// verified waits until the route serves a version to who has a token.
func (in *instance) verified(t *testing.T, token string, version int) {
	t.Helper()
	in.want(t, request{host: "verified.example", header: []string{token}}, expect{
		backend: "one", header: []string{fmt.Sprintf("x-version: %d", version)},
	})
}

// inlined waits until Envoys are told the keys.
func (in *instance) inlined(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		config, err := in.get("/config")
		if err == nil && !bytes.Contains(config, []byte("inline_string")) {
			err = errors.New("Envoys are not told the keys")
		}
		return err
	})
}

// warns waits until the policy warns of its keys, and is accepted for all that; with an empty reason until it does not.
func (in *instance) warns(t *testing.T, reason, message string) {
	t.Helper()
	want := conditionWant{kind: "SecurityPolicy", name: "default/verified", condition: "Accepted=True/Accepted"}
	in.condition(t, want)
	want.condition, want.message, want.absent = "Warning=True/"+reason, message, reason == ""
	in.condition(t, want)
}

// staleKeys waits until the metric has a value.
func (in *instance) staleKeys(t *testing.T, n int) {
	t.Helper()
	line := fmt.Sprintf("\nsluice_stale_keys %d\n", n)
	eventually(t, func() error {
		metrics, err := in.get("/metrics")
		if err == nil && !bytes.Contains(metrics, []byte(line)) {
			err = fmt.Errorf("the metrics have no line %q", line)
		}
		return err
	})
}

// TestIssuerAway edits routes while the issuer of tokens is away: no request is lost, and the policy says that its keys
// are not up to date.
func TestIssuerAway(t *testing.T) {
	t.Parallel()
	all := signers(t)
	issuer := serveKeys(t, keySet(all))
	in := start(t, files{"verified.yaml": verifiedRoute(issuer, 0)})
	token := all["ES256"].token(claimsOf(nil))
	in.verified(t, token, 0)
	in.inlined(t)
	issuer.answer.Store("")
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 500,
		Requests: []load.Request{load.NewRequest("verified.example", "/", map[string]string{
			"authorization": token[len("authorization: "):],
		})},
	})
	for version := 1; version <= 10; version++ {
		in.write("verified.yaml", verifiedRoute(issuer, version))
		in.verified(t, token, version)
	}
	in.must(t, request{host: "verified.example"}, expect{status: 401})
	in.warns(t, "Stale", "cannot be fetched anew")
	in.staleKeys(t, 1)
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	issuer.answer.Store(keySet(all))
	in.warns(t, "", "")
	in.staleKeys(t, 0)
	in.verified(t, token, 10)
}

// TestKeysRotate has an issuer sign with other keys: tokens of these are let in within cacheDuration, and those of the
// keys before no more. What is no set of keys takes nobody's place.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	before, after := signers(t), signers(t)
	issuer := serveKeys(t, keySet(before))
	in := start(t, files{"verified.yaml": verifiedRoute(issuer, 0)})
	old, current := before["RS256"].token(claimsOf(nil)), after["RS256"].token(claimsOf(nil))
	ask := func(token string) request { return request{host: "verified.example", header: []string{token}} }
	in.verified(t, old, 0)
	in.inlined(t)
	in.must(t, ask(current), expect{status: 401})
	issuer.answer.Store(keySet(after))
	in.want(t, ask(current), expect{backend: "one"})
	in.must(t, ask(old), expect{status: 401})

	issuer.answer.Store("<html>" + keySet(before))
	in.warns(t, "Stale", "no usable JSON Web Key Set")
	in.write("verified.yaml", verifiedRoute(issuer, 1))
	in.verified(t, current, 1)
	in.must(t, ask(old), expect{status: 401})
	issuer.answer.Store(keySet(after))
	in.warns(t, "", "")
}

// TestIssuerNotThere starts while the issuer is away: nobody is let in, the policy says why, and the keys are used when
// they are there.
func TestIssuerNotThere(t *testing.T) {
	t.Parallel()
	all := signers(t)
	issuer := serveKeys(t, "")
	in := start(t, files{"verified.yaml": verifiedRoute(issuer, 0)})
	token := all["EdDSA"].token(claimsOf(nil))
	in.want(t, request{host: "verified.example", header: []string{token}}, expect{status: 401})
	in.warns(t, "NotFetched", "Until then Envoy fetches the keys itself")
	issuer.answer.Store(keySet(all))
	in.verified(t, token, 0)
	in.inlined(t)
	in.warns(t, "", "")
}

// TestKeysOutliveRestart starts sluice again while the issuer is away: tokens go on being verified.
func TestKeysOutliveRestart(t *testing.T) {
	t.Parallel()
	all := signers(t)
	issuer := serveKeys(t, keySet(all))
	in := start(t, files{"verified.yaml": verifiedRoute(issuer, 0)})
	token := all["PS256"].token(claimsOf(nil))
	in.verified(t, token, 0)
	in.inlined(t)
	issuer.answer.Store("")
	in.signal(syscall.SIGTERM)
	if !in.exited(in.process) {
		t.Fatal("sluice is still running after SIGTERM")
	}
	in.checkNothingLeft()
	in.run()
	in.waitReady()
	in.verified(t, token, 0)
	in.warns(t, "Stale", "cannot be fetched anew")
}
