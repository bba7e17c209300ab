// Package component builds the programs that a cluster for tests is made of, each set of them once, into Sluice's
// cache: Kubernetes with etcd, containerd, runc, CoreDNS, the CNI plugins, Helm, and the conformance suite's echo
// server; and Envoy Gateway, for the tests that want it.
//
// Each set is a Go module of its own in a folder of this one. Its tool lines name the programs, go.mod pins the
// versions, go.sum is the checksum. A set is kept below a hash of both, of how it is built and of the Go version.
package component

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// module is Sluice's own.
const module = "github.com/sluice-gateway/sluice"

// set is a module with programs.
type set struct {
	// name is the folder of the module.
	name string
	// tags and ldflags are those of go build.
	tags, ldflags string
	cgo           bool
	// renamed are the programs whose package has another name: from, to.
	renamed [2]string
	// further is true of what no cluster is made of: it is built for the tests that want it.
	further bool
}

// kubernetesVersion is what the programs say of themselves; go.mod has it, too.
const kubernetesVersion = "v1.36.3"

var sets = []set{
	{
		name: "kubernetes", renamed: [2]string{"server", "etcd"},
		ldflags: "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
	},
	{name: "containerd", tags: "no_btrfs no_zfs no_devmapper"},
	// Without seccomp no pod of the restricted security standard would start.
	{name: "runc", tags: "seccomp", cgo: true},
	{name: "coredns"},
	{name: "cni"},
	{name: "echo"},
	{name: "helm"},
	{name: "envoygateway", further: true},
}

// Cache returns the folder of Sluice's cache that clusters use: below $SLUICE_CACHE, or else the user's.
func Cache() (string, error) {
	root := os.Getenv("SLUICE_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place for a cache: %w; set SLUICE_CACHE", err)
		}
		root = filepath.Join(user, "sluice")
	}
	return filepath.Join(root, "cluster"), nil
}

// Build returns the path of each program by its name, and a hash of all of them. What is not in the cache is built,
// which takes minutes; log is told what, and how long it took.
func Build(ctx context.Context, log io.Writer) (programs map[string]string, hash string, err error) {
	cache, err := Cache()
	if err != nil {
		return nil, "", err
	}
	source, err := sourceDir(ctx)
	if err != nil {
		return nil, "", err
	}
	unlock, err := Lock(filepath.Join(cache, "build.lock"))
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	programs = map[string]string{}
	all := sha256.New()
	for _, s := range sets {
		if s.further {
			continue
		}
		bin, sum, err := s.ensure(ctx, cache, source, log)
		if err != nil {
			return nil, "", err
		}
		all.Write([]byte(sum + "\n"))
		built, err := os.ReadDir(bin)
		if err != nil {
			return nil, "", err
		}
		for _, file := range built {
			programs[file.Name()] = filepath.Join(bin, file.Name())
		}
	}
	return programs, hex.EncodeToString(all.Sum(nil))[:hashLength], nil
}

// ensure returns the folder of the programs of a set, which are built if they are not in the cache, and their hash. The
// caller holds the lock of the cache.
func (s set) ensure(ctx context.Context, cache, source string, log io.Writer) (bin, sum string, err error) {
	source = filepath.Join(source, s.name)
	if sum, err = s.hash(source); err != nil {
		return "", "", err
	}
	dir := filepath.Join(cache, s.name+"-"+sum)
	bin = filepath.Join(dir, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, sum, nil
	}
	if err := s.build(ctx, source, dir, log); err != nil {
		return "", "", fmt.Errorf("build %s: %w", s.name, err)
	}
	return bin, sum, nil
}

// Further returns the folder of the programs of a set that no cluster is made of. What is not in the cache is built,
// which takes minutes; log is told what, and how long it took.
func Further(ctx context.Context, name string, log io.Writer) (bin string, err error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	source, err := sourceDir(ctx)
	if err != nil {
		return "", err
	}
	unlock, err := Lock(filepath.Join(cache, "build-"+name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	i := slices.IndexFunc(sets, func(s set) bool { return s.further && s.name == name })
	if i < 0 {
		return "", fmt.Errorf("there is no further set of programs %q", name)
	}
	bin, _, err = sets[i].ensure(ctx, cache, source, log)
	return bin, err
}

// Built returns the folder of the programs of a set that is in the cache, "" if it is not: it never builds.
func Built(ctx context.Context, name string) (string, error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	source, err := sourceDir(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(sets, func(s set) bool { return s.name == name })
	if i < 0 {
		return "", fmt.Errorf("there is no set of programs %q", name)
	}
	sum, err := sets[i].hash(filepath.Join(source, name))
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, name+"-"+sum, "bin")
	if _, err := os.Stat(bin); err != nil {
		return "", nil //nolint:nilerr // not built yet, which is an answer
	}
	return bin, nil
}

// hashLength is how many characters of a hash tell sets apart.
const hashLength = 16

// sourceDir is where the modules of the sets are: they cannot be embedded, as they are other modules.
func sourceDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the source of %s: %w; run it in a clone of Sluice", module, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "test", "cluster", "component"), nil
}

func (s set) hash(source string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		h.Write(fmt.Appendf(nil, "%s %d\n%s", name, len(data), data))
	}
	h.Write(fmt.Appendf(nil, "%q %s %s", s.args("."), runtime.Version(), runtime.GOARCH))
	return hex.EncodeToString(h.Sum(nil))[:hashLength], nil
}

func (s set) args(out string) []string {
	args := []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.TrimSpace("-s -w " + s.ldflags)}
	if s.tags != "" {
		args = append(args, "-tags", s.tags)
	}
	return append(args, "-o", out+string(filepath.Separator), "tool")
}

func (s set) build(ctx context.Context, source, dir string, log io.Writer) error {
	started := time.Now()
	say(log, "building %s\n", s.name)
	if s.cgo {
		if err := Install(ctx, log, buildTools...); err != nil {
			return err
		}
	}
	temp := dir + ".new"
	if err := errors.Join(os.RemoveAll(temp), os.RemoveAll(dir)); err != nil {
		return err
	}
	bin := filepath.Join(temp, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // programs, without secrets
		return err
	}
	cmd := exec.CommandContext(ctx, "go", s.args(bin)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = source, log, log
	cgo := "0"
	if s.cgo {
		cgo = "1"
	}
	// The set's own toolchain line does not choose: one Go version builds everything.
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOWORK=off", "GOOS=linux", "GOTOOLCHAIN="+runtime.Version())
	if err := cmd.Run(); err != nil {
		return err
	}
	if from := s.renamed[0]; from != "" {
		if err := os.Rename(filepath.Join(bin, from), filepath.Join(bin, s.renamed[1])); err != nil {
			return err
		}
	}
	say(log, "built %s in %s\n", s.name, time.Since(started).Round(time.Second))
	return os.Rename(temp, dir)
}

// say tells whoever listens; that nobody does is no reason to stop.
func say(log io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(log, format, args...) }

// Need is something of the system that is not built: a program or a file, and Debian's packages that have it.
type Need struct {
	// Program is looked for on PATH, File below /usr/include; one of them is set.
	Program, File string
	Packages      []string
}

var buildTools = []Need{
	{Program: "gcc", Packages: []string{"gcc", "libc6-dev"}},
	{Program: "pkg-config", Packages: []string{"pkg-config"}},
	{File: "seccomp.h", Packages: []string{"libseccomp-dev"}},
}

// RunTools are what a cluster needs of the system to run.
var RunTools = []Need{
	{Program: "ip", Packages: []string{"iproute2"}},
	{Program: "nft", Packages: []string{"nftables"}},
	{Program: "mount", Packages: []string{"mount"}},
}

func (n Need) missing() bool {
	if n.File != "" {
		_, err := os.Stat(filepath.Join("/usr/include", n.File))
		return err != nil
	}
	_, err := exec.LookPath(n.Program)
	return err != nil
}

// Install installs the packages of what is missing, with apt. Its error says what to install where there is no apt.
func Install(ctx context.Context, log io.Writer, needs ...Need) error {
	var packages []string
	for _, need := range needs {
		if need.missing() {
			packages = append(packages, need.Packages...)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	say(log, "installing %s\n", strings.Join(packages, " "))
	for _, args := range [][]string{
		{"update", "-qq"},
		slices.Concat([]string{"install", "-qq", "-y", "--no-install-recommends"}, packages),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("install %s, which is missing: apt-get: %w\n%s", strings.Join(packages, " "), err, out)
		}
	}
	return nil
}
