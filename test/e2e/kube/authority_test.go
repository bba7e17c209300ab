package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/test/release"
)

// reconnects is how long a change may take to reach Envoys that have to connect anew with other certificates.
const reconnects = 10 * time.Second

// TestAuthorityRotated replaces the CA that signs all certificates of xDS, under load: the next one is announced, then
// it signs, then the last one is trusted no more. After each step all replicas are started again, so that all Envoys
// have to connect with what they have by then: they do, soon, and new ones, too. No Envoy is replaced.
func TestAuthorityRotated(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	stay := w.staysProgrammed()
	traffic := w.load(address, "one.example", "one")
	last, next := w.authorities()[0], newAuthority(t)
	now := time.Now()
	const settled = 25 * time.Hour // by then the next one signs
	for _, step := range []struct {
		name    string
		kept    []authority
		trusted []authority
		signer  authority
		// renew has the certificate of the Envoys renewed, as it is when half of its life is over: until then it stays as
		// it is, because the CA of it is trusted for the whole of that.
		renew bool
	}{
		{"announced", []authority{last, next.since(now)}, []authority{last, next}, last, false},
		{"signs", []authority{last.since(now.Add(-2 * settled)), next.since(now.Add(-settled))},
			[]authority{last, next}, next, true},
		{"alone", []authority{next.since(now.Add(-settled))}, []authority{next}, next, false},
	} {
		t.Log("the next CA:", step.name)
		w.keepAuthorities(step.kept)
		w.restartEach() // they would notice by themselves within a minute
		if step.renew {
			w.due()
		}
		w.eventually("the certificate of the Envoys", func() error { return w.issuedBy(step.signer, step.trusted) })
		w.remount()
		w.restartEach()
		w.shownBy(step.signer)
		w.reaches(reconnects, envoys, "rotated-"+step.name)
	}
	fresh := w.newEnvoy()
	w.eventually("the new Envoy "+fresh, func() error { return w.ready(w.ns, "gateway", envoys) })
	traffic.none()
	stay()
	// The rate-limit service of the tests that follow has another certificate, too.
	w.touch(release.Default.Namespace, "app.kubernetes.io/instance="+release.Default.Name)
}

// TestCertificateExpired lets the certificate of a fleet expire while there is no control plane to renew it. One that
// starts does so, and the Envoys connect again without being replaced; they have served all the time.
func TestCertificateExpired(t *testing.T) {
	w := begin(t)
	const envoys = 1
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	before, err := w.envoys(w.ns, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	traffic := w.load(address, "one.example", "one")
	t.Cleanup(func() { w.scaleControlPlane(context.WithoutCancel(t.Context()), controlPlanes) })
	w.scaleControlPlane(t.Context(), 0)
	w.eventually("no control plane", w.noReplica)
	ca := w.authorities()[0]
	w.expire(ca)
	w.remount()
	w.scaleControlPlane(t.Context(), controlPlanes)
	w.controlled(controlPlanes)
	w.eventually("another certificate of the Envoys", func() error { return w.issuedBy(ca, []authority{ca}) })
	w.remount()
	w.reaches(reconnects, envoys, "renewed")
	if now, err := w.envoys(w.ns, "gateway"); err != nil || now[0].Name != before[0].Name {
		t.Errorf("the Envoy was replaced: %v", err)
	}
	traffic.none()
}

// authority is a CA as Sluice keeps it: a certificate and its key, as blocks of PEM.
type authority struct{ certificate, key *pem.Block }

// newAuthority makes a CA as Sluice makes one.
func newAuthority(t *testing.T) authority {
	t.Helper()
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(time.Now()); err != nil {
		t.Fatal(err)
	}
	text, err := roster.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return parseAuthorities(text)[0]
}

func parseAuthorities(text []byte) (out []authority) {
	for {
		var a authority
		if a.certificate, text = pem.Decode(text); a.certificate == nil {
			return out
		}
		a.key, text = pem.Decode(text)
		out = append(out, a)
	}
}

// since is the CA as if it had been known for longer, or not yet for so long.
func (a authority) since(at time.Time) authority {
	certificate := *a.certificate
	certificate.Headers = map[string]string{"Since": at.UTC().Format(time.RFC3339)}
	return authority{&certificate, a.key}
}

// bundle is the PEM of what is trusted.
func bundle(all []authority) []byte {
	var out []byte
	for _, a := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: a.certificate.Type, Bytes: a.certificate.Bytes})...)
	}
	return out
}

// marshal is the PEM of what is kept.
func marshal(all []authority) []byte {
	var out []byte
	for _, a := range all {
		out = append(append(out, pem.EncodeToMemory(a.certificate)...), pem.EncodeToMemory(a.key)...)
	}
	return out
}

// authoritySecret is where Sluice keeps its CAs.
var authoritySecret = corePath(release.Default.Namespace, "secrets", release.Default.Name+"-authority")

const authorityKey = "authorities.pem"

// authorities returns the CAs of the control plane.
func (w *world) authorities() []authority {
	w.t.Helper()
	var s corev1.Secret
	if err := w.get(authoritySecret, &s); err != nil {
		w.t.Fatal(err)
	}
	out := parseAuthorities(s.Data[authorityKey])
	if len(out) != 1 {
		w.t.Fatalf("there are %d CAs, want one to begin with", len(out))
	}
	return out
}

// keepAuthorities writes other CAs to where Sluice keeps them, as the replica does for which the time has come.
func (w *world) keepAuthorities(all []authority) {
	w.t.Helper()
	w.patchData(authoritySecret, map[string][]byte{authorityKey: marshal(all), "ca.crt": bundle(all)}, nil)
}

// due has the certificate of the Envoys issued anew, as it is when its time has come.
func (w *world) due() {
	w.t.Helper()
	s, err := w.fleetSecret()
	if err != nil {
		w.t.Fatal(err)
	}
	// A Secret that is not what was put there does not stay.
	w.kubectl("-n", w.ns, "annotate", "secret", s.Name, "--overwrite", "sluice.dev/config=another")
}

// patchData writes data and annotations of a Secret.
func (w *world) patchData(path string, data map[string][]byte, annotations map[string]string) {
	w.t.Helper()
	patch, err := json.Marshal(map[string]any{
		"data": data, "metadata": map[string]any{"annotations": annotations},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.patch(path, string(patch))
}

// restartEach kills each replica and waits until it is ready again, one after another: its Envoys turn to the other
// one meanwhile.
func (w *world) restartEach() {
	w.t.Helper()
	replicas := w.controlled(controlPlanes)
	for i := range replicas {
		one := replicas[i : i+1]
		before := w.eachProcess(one)
		w.signal(one[0], serveWord, syscall.SIGKILL)
		w.eventually("the replica to be started again", func() error { return w.startedAgain(one, before) })
	}
	w.controlled(controlPlanes)
}

// fleetSecret returns the Secret with the certificate of the test's Gateway.
func (w *world) fleetSecret() (*corev1.Secret, error) {
	return one[corev1.Secret](w, "/api/v1", "secrets")
}

// issuedBy says what keeps the certificate of the Envoys from being valid, of a CA, and beside what is to be trusted.
func (w *world) issuedBy(signer authority, trusted []authority) error {
	s, err := w.fleetSecret()
	if err != nil {
		return err
	}
	if !bytes.Equal(s.Data["ca.crt"], bundle(trusted)) {
		return fmt.Errorf("it trusts %d bytes of CAs, want %d", len(s.Data["ca.crt"]), len(bundle(trusted)))
	}
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	if block == nil {
		return errors.New("it is no PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	return verify(leaf, signer, x509.ExtKeyUsageClientAuth)
}

func verify(leaf *x509.Certificate, signer authority, usage x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle([]authority{signer}))
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// shownBy checks that each replica shows Envoys a certificate of a CA.
func (w *world) shownBy(signer authority) {
	w.t.Helper()
	for _, p := range w.controlled(controlPlanes) {
		raw, err := w.Dial(w.t.Context(), "tcp", net.JoinHostPort(p.Status.PodIP, xdsPort))
		if err != nil {
			w.t.Fatal(err)
		}
		var shown error
		conn := tls.Client(raw, &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
			InsecureSkipVerify: true, // verified below, by another than the host's name
			VerifyConnection: func(state tls.ConnectionState) error {
				shown = verify(state.PeerCertificates[0], signer, x509.ExtKeyUsageServerAuth)
				return shown
			},
		})
		if err := conn.HandshakeContext(w.t.Context()); err != nil || shown != nil {
			w.t.Errorf("%s: %v", p.Name, errors.Join(err, shown))
		}
		_ = raw.Close()
	}
}

// remount has the kubelets bring the Secrets in the pods of Envoys up to date now, instead of within their minute or
// two: they look after a pod that changes.
func (w *world) remount() {
	w.t.Helper()
	w.touch(w.ns, gatewayLabel+"=gateway")
	s, err := w.fleetSecret()
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the certificate in the pods", func() error {
		return w.ofEach(func(p corev1.Pod) error {
			pid, err := w.process(p, envoyWord)
			if err != nil {
				return err
			}
			mounted, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/etc/sluice/identity/%s", pid, corev1.TLSCertKey))
			if err == nil && !bytes.Equal(mounted, s.Data[corev1.TLSCertKey]) {
				err = fmt.Errorf("%s has another one", p.Name)
			}
			return err
		})
	})
}

// touch changes pods in a way that means nothing.
func (w *world) touch(ns, selector string) {
	w.t.Helper()
	w.kubectl("-n", ns, "annotate", "pods", "-l", selector, "--overwrite", "touched="+time.Now().Format("150405.000"))
}

// expire puts a certificate in the place of that of the Envoys which was issued so long ago that it is not valid any
// more, with what Sluice would have noted then.
func (w *world) expire(ca authority) {
	w.t.Helper()
	then := time.Now().Add(-2 * pki.DefaultTerm.Leaf)
	roster, err := pki.ParseRoster(marshal([]authority{ca.since(then)}), pki.DefaultTerm)
	if err != nil {
		w.t.Fatal(err)
	}
	issuer := pki.NewAuthority(func() time.Time { return then })
	issuer.Set(roster)
	pair, err := issuer.Issue(model.ProxyName(w.ns + "/gateway"))
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.fleetSecret()
	if err != nil {
		w.t.Fatal(err)
	}
	w.patchData(corePath(w.ns, "secrets", s.Name), map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, "ca.crt": pair.CA,
	}, map[string]string{
		"sluice.dev/renew": pair.Renew.UTC().Format(time.RFC3339),
		"sluice.dev/config": fmt.Sprintf("%016x", xxhash.Sum64(bytes.Join([][]byte{
			pair.Certificate, pair.Key, pair.CA,
		}, []byte{0}))),
	})
}
