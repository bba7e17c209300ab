package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// config is a folder of Gateway API YAML: a Gateway and routes, each with a host and a Backend of its own.
type config struct {
	// port is the Gateway's, backend that of all backends.
	port, backend int
	// single puts all routes into one file, where each otherwise has its own.
	single bool
	// dir is the folder, staging where files are written before they are moved there.
	dir, staging string
	// paths are the routes' paths as they are now.
	paths []string
}

// create makes the folder below root, with the Gateway of a class and n routes.
func (c *config) create(root, class string, n int) error {
	c.dir, c.staging, c.paths = filepath.Join(root, "config"), filepath.Join(root, "staging"), make([]string, n)
	for _, dir := range []string{c.dir, c.staging} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	gateway := fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: %s
  listeners:
  - {name: http, protocol: HTTP, port: %d}
`, class, c.port)
	if err := c.write("gateway.yaml", []byte(gateway)); err != nil {
		return err
	}
	for i := range c.paths {
		c.paths[i] = firstPath
		if c.single {
			continue
		}
		if err := c.writeRoute(i); err != nil {
			return err
		}
	}
	if !c.single {
		return nil
	}
	return c.writeAll()
}

// firstPath is the path of a route before it is edited. It is not a prefix of those that come after.
const firstPath = "/first"

func host(i int) string { return fmt.Sprintf("host-%05d.example.com", i) }

// backendAddress is the loopback address of a route's backend.
func backendAddress(i int) string { return fmt.Sprintf("127.1.%d.%d", i/250, i%250+1) }

// route returns the YAML of a route and its Backend.
func (c *config) route(i int) []byte {
	return fmt.Appendf(nil, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route-%[1]d, namespace: default}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%[2]s]
  rules:
  - matches: [{path: {type: PathPrefix, value: %[3]s}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-%[1]d}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: backend-%[1]d, namespace: default}
spec:
  endpoints: [{ip: {address: %[4]s, port: %[5]d}}]
`, i, host(i), c.paths[i], backendAddress(i), c.backend)
}

// set changes the path of a route, or adds the route that follows the last one.
func (c *config) set(i int, path string) error {
	if i == len(c.paths) {
		c.paths = append(c.paths, path)
	}
	c.paths[i] = path
	if c.single {
		return c.writeAll()
	}
	return c.writeRoute(i)
}

func (c *config) writeRoute(i int) error {
	return c.write(fmt.Sprintf("route-%05d.yaml", i), c.route(i))
}

func (c *config) writeAll() error {
	var all bytes.Buffer
	for i := range c.paths {
		all.WriteString("---\n")
		all.Write(c.route(i))
	}
	return c.write("routes.yaml", all.Bytes())
}

// write puts a file in place at once, by renaming.
func (c *config) write(name string, content []byte) error {
	staged := filepath.Join(c.staging, name)
	if err := os.WriteFile(staged, content, 0o600); err != nil {
		return err
	}
	return os.Rename(staged, filepath.Join(c.dir, name))
}
