package cluster

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/build/image"
	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/test/cluster/component"
)

// The images that each cluster has besides the pause image.
var (
	// EnvoyImage is Envoy's own image, made here of the Envoy that tests use.
	EnvoyImage = "envoyproxy/envoy:distroless-v" + fleet.EnvoyVersion
	// EchoImages are the names of the conformance suite's echo server: one program for HTTP, gRPC, TCP and UDP, and for
	// both tags.
	EchoImages = []string{
		"registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0",
		"registry.k8s.io/gateway-api/conformance/echo-basic:v0.2.0",
	}
)

// archives returns the files of the images that each cluster has, making what is missing.
func archives(ctx context.Context, echo string) ([]string, error) {
	cache, err := component.Cache()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "image")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a cache, without secrets
		return nil, err
	}
	unlock, err := component.Lock(filepath.Join(cache, "image.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	pause := filepath.Join(dir, "pause")
	if err := buildProgram(ctx, "github.com/sluice-gateway/sluice/test/cluster/pause", pause); err != nil {
		return nil, err
	}
	envoy, err := envoyImage(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range []image.Image{
		{Name: pauseImage, Entrypoint: []string{"/pause"}, Files: []image.File{{Path: "/pause", Source: pause}}},
		{
			Name: EchoImages[0], Aliases: EchoImages[1:], Entrypoint: []string{"/echo-basic"}, User: image.NonRoot,
			Files: []image.File{{Path: "/tmp", Mode: 0o1777}, {Path: "/echo-basic", Source: echo}},
		},
		envoy,
	} {
		i.Architecture = runtime.GOARCH
		path, err := archive(dir, i)
		if err != nil {
			return nil, err
		}
		out = append(out, path)
	}
	return out, nil
}

// envoyImage is the Envoy that Sluice would run here with the libraries that it needs.
func envoyImage(ctx context.Context) (image.Image, error) {
	found, err := local.Find(ctx, local.Options{Path: os.Getenv("SLUICE_ENVOY")})
	if err != nil {
		return image.Image{}, fmt.Errorf("make the image of Envoy: %w", err)
	}
	files, err := image.Base()
	if err != nil {
		return image.Image{}, err
	}
	libraries, err := librariesOf(ctx, found.Path)
	if err != nil {
		return image.Image{}, err
	}
	for _, path := range libraries {
		files = append(files, image.File{Path: path, Source: path})
	}
	return image.Image{
		Name: EnvoyImage, Entrypoint: []string{"/usr/local/bin/envoy"}, Cmd: []string{"-c", "/etc/envoy/envoy.yaml"},
		User:  image.NonRoot,
		Files: append(files, image.File{Path: "/usr/local/bin/envoy", Source: found.Path}),
	}, nil
}

var libraryLine = regexp.MustCompile(`(?:=>\s+|^\s*)(/\S+) \(0x`)

// librariesOf returns the paths of the libraries that a program is linked with, as the loader finds them.
func librariesOf(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		return nil, fmt.Errorf("find the libraries of %s: ldd: %w: %s", program, err, out)
	}
	var libraries []string
	for line := range strings.Lines(string(out)) {
		if m := libraryLine.FindStringSubmatch(line); m != nil {
			libraries = append(libraries, m[1])
		}
	}
	return libraries, nil
}

// archive returns the file of an image, which is made unless there is one of the same contents.
func archive(dir string, i image.Image) (path string, err error) {
	sum := sha256.New()
	sum.Write(fmt.Appendf(nil, "%+v", i))
	for _, file := range i.Files {
		if file.Source == "" {
			continue
		}
		source, err := os.Open(file.Source)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(sum, source)
		if err := errors.Join(err, source.Close()); err != nil {
			return "", err
		}
	}
	path = filepath.Join(dir, hex.EncodeToString(sum.Sum(nil))[:16]+".tar")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, WriteArchive(i, path)
}

// WriteArchive writes an image to a file, whole or not at all.
func WriteArchive(i image.Image, path string) error {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(i.Write(buffered), buffered.Flush(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// Load puts an image, from an archive as package image writes it, on every node. One of the same name is replaced.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	path, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	return c.load(ctx, []string{path})
}

func (c *Cluster) load(ctx context.Context, archives []string) error {
	var wait sync.WaitGroup
	problems := make([]error, len(c.Nodes()))
	for i, node := range c.Nodes() {
		wait.Go(func() { problems[i] = c.loadOn(ctx, node, archives) })
	}
	wait.Wait()
	return errors.Join(problems...)
}

func (c *Cluster) loadOn(ctx context.Context, node Node, archives []string) error {
	ctr := func(args ...string) error {
		args = append([]string{"ctr", "--address", c.containerdSocket(node), "--namespace", "k8s.io"}, args...)
		if out, err := c.commandOn(ctx, node, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: ctr: %w: %s", node.Name, err, out)
		}
		return nil
	}
	if err := c.await(ctx, "containerd", func(context.Context) error { return ctr("version") }); err != nil {
		return err
	}
	for _, path := range archives {
		if err := ctr("images", "import", path); err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}
