package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/api"
)

// lifetime is that of all certificates: longer than a cluster for tests.
const lifetime = 365 * 24 * time.Hour

// authority issues a cluster's certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// identity is whom a certificate is for: the user and group as Kubernetes reads them, and for servers the names.
type identity struct {
	user, group string
	hosts       []string
}

// pki is the path of a certificate's or key's file: pki("ca.crt").
func (c *Cluster) pki(name string) string { return c.path("pki", name) }

func (c *Cluster) newAuthority() (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice-test-" + c.Name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key}, c.writePair("ca", der, key)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// issue writes NAME.crt and NAME.key.
func (c *Cluster) issue(a *authority, name string, who identity) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: who.user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if who.group != "" {
		template.Subject.Organization = []string{who.group}
	}
	for _, host := range who.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", who.user, err)
	}
	return c.writePair(name, der, key)
}

func (c *Cluster) writePair(name string, cert []byte, key *ecdsa.PrivateKey) error {
	if err := writePEM(c.pki(name+".crt"), "CERTIFICATE", cert); err != nil {
		return err
	}
	return c.writeKey(name, key)
}

func (c *Cluster) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(c.pki(name+".key"), "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writePKI makes all certificates, and a kubeconfig for each program that is a client.
func (c *Cluster) writePKI() error {
	if err := os.MkdirAll(c.pki(""), 0o700); err != nil {
		return err
	}
	a, err := c.newAuthority()
	if err != nil {
		return err
	}
	tokens, err := newKey()
	if err != nil {
		return err
	}
	if err := c.writeKey("sa", tokens); err != nil {
		return err
	}
	server := identity{user: "kube-apiserver", group: "system:masters", hosts: []string{
		"127.0.0.1", controlIP, firstService, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + domain,
	}}
	if err := c.issue(a, "apiserver", server); err != nil {
		return err
	}
	inside := "https://" + net.JoinHostPort(controlIP, apiServerPort)
	clients := map[string]identity{
		"admin":      {user: "admin", group: "system:masters"},
		"controller": {user: "system:kube-controller-manager"},
		"scheduler":  {user: "system:kube-scheduler"},
		"proxy":      {user: "system:kube-proxy"},
	}
	for _, node := range c.Nodes() {
		clients[node.Name] = identity{user: "system:node:" + node.Name, group: "system:nodes"}
	}
	for name, who := range clients {
		if err := c.issue(a, name, who); err != nil {
			return err
		}
		if err := c.writeKubeconfig(c.kubeconfigOf(name), name, inside); err != nil {
			return err
		}
	}
	outside := fmt.Sprintf("https://127.0.0.1:%d", c.APIPort)
	return c.writeKubeconfig(c.Kubeconfig(), "admin", outside)
}

// kubeconfigOf is the path of the kubeconfig of a program.
func (c *Cluster) kubeconfigOf(client string) string {
	if client == "admin" {
		return c.InnerKubeconfig()
	}
	return c.pki(client + ".kubeconfig")
}

func (c *Cluster) writeKubeconfig(path, client, server string) error {
	data, err := api.Config{
		Server: server, Authority: c.pki("ca.crt"), Certificate: c.pki(client + ".crt"), Key: c.pki(client + ".key"),
	}.Kubeconfig()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
