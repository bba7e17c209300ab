package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

const (
	// routesPerSet is how many routes are attached to each ListenerSet, as in the public gateway-api-bench.
	routesPerSet = 16
	securePort   = 10_443
)

// listenerSets measures a Gateway with many HTTPS listeners of other namespaces.
func listenerSets(ctx context.Context, o options, t *table.Table) error {
	sets := o.size(2500)
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.createSets(ctx, sets); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	p, err := w.proxy(ctx, mainGateway, securePort)
	if err != nil {
		return err
	}
	defer p.Stop()
	last := sets - 1
	p.conn.Use(secureDial(hostOf(last)), "")
	at, err := p.answers(ctx, hostOf(last), setPath(routesPerSet-1, 0))
	if err != nil {
		return err
	}
	n := sets * routesPerSet
	name := fmt.Sprintf("routes in %d HTTPS listeners", sets)
	t.Add(table.Row{
		What:     fmt.Sprintf("cold start with %d %s", n, name),
		Measured: table.InMilliseconds(at.Sub(w.plane.began)),
	})
	if err := w.settled(ctx); err != nil {
		return err
	}
	if err := w.memory(t, p, n, name); err != nil {
		return err
	}
	return w.setEdits(ctx, t, p, sets, fmt.Sprintf("a route edit, %d %s", n, name))
}

func setName(i int) string { return fmt.Sprintf("set-%05d", i) }

// setPath is that of a route of a set, after it was changed k times.
func setPath(route, k int) string { return fmt.Sprintf("/route-%d/%d", route, k) }

// createSets makes a Gateway, ListenerSets with the certificate of their namespace, and their routes and Services.
func (w *world) createSets(ctx context.Context, sets int) error {
	certificate, err := secretData()
	if err != nil {
		return err
	}
	return w.create(ctx, func(yield func(object) bool) {
		if !yield(gateway(mainGateway, httpListener(mainPort))) {
			return
		}
		for i := range min(sets, namespaces) {
			if !yield(newObject(secretResource, "Secret", namespaceOf(i), "cert", certificate)) {
				return
			}
		}
		for i := range sets {
			if !yield(listenerSet(i)) || !yield(service(i)) || !yield(slice(i, 0, backendPort, backendAddress(i))) {
				return
			}
			for r := range routesPerSet {
				if !yield(setRoute(i, r, 0)) {
					return
				}
			}
		}
	})
}

func listenerSet(i int) object {
	return newObject(listenerSetResource, "ListenerSet", namespaceOf(i), setName(i), fields{"spec": fields{
		"parentRef": gatewayParent(mainGateway),
		"listeners": []any{fields{
			"name": "https", "port": int64(securePort), "protocol": "HTTPS", "hostname": hostOf(i),
			"tls": fields{"mode": "Terminate", "certificateRefs": []any{fields{"name": "cert"}}},
		}},
	}})
}

func setRoute(set, r, k int) object {
	parent := fields{"group": gatewayResource.Group, "kind": "ListenerSet", "name": setName(set)}
	o := routeOf(set, set, hostOf(set), setPath(r, k), parent)
	o.SetName(fmt.Sprintf("%s-%d", appName(set), r))
	return o
}

// setEdits changes routes of ListenerSets one after the other.
func (w *world) setEdits(ctx context.Context, t *table.Table, p *proxy, sets int, name string) error {
	const edits = 30
	return w.each(ctx, t, changes{of: name, count: edits, make: func(k int) (time.Duration, error) {
		i := k * 613 % sets
		if err := w.replace(ctx, setRoute(i, 3, k+1)); err != nil {
			return 0, err
		}
		begin := time.Now()
		another := p.another(secureDial(hostOf(i)))
		defer another.conn.Close()
		at, err := another.answers(ctx, hostOf(i), setPath(3, k+1))
		return at.Sub(begin), err
	}})
}

// secureDial connects with TLS to a host, whatever its certificate.
func secureDial(host string) load.Dial {
	d := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	}
}

// secretData is a certificate for all hosts, and its key, as a Secret has them.
func secretData() (fields, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	encoded := func(kind string, data []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return fields{"type": "kubernetes.io/tls", "data": fields{
		"tls.crt": encoded("CERTIFICATE", cert), "tls.key": encoded("PRIVATE KEY", der),
	}}, nil
}
