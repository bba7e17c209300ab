package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/redis"
	"github.com/sluice-gateway/sluice/internal/ratelimit/service"
)

// ratelimitFlags are the flags of sluice ratelimit.
type ratelimitFlags struct {
	address, admin, tlsDir string
	counters               counterFlags
	config                 configFlag
}

// counterFlags say where the counters are.
type counterFlags struct {
	redisURL, redisTLS string
	memory             int
	timeout            time.Duration
}

// ratelimitPort is the port of sluice ratelimit, by default and in the chart.
const ratelimitPort = 18002

// limitFlags say how Envoys ask about global rate limits.
type limitFlags struct {
	failClosed bool
	timeout    time.Duration
}

// register adds the flags that sluice run and sluice serve have in common.
func (f *limitFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.failClosed, "ratelimit-fail-closed", false,
		"Answer 500 to requests whose global rate limits cannot be asked for; without it they pass")
	flags.DurationVar(&f.timeout, "ratelimit-timeout", 10*time.Millisecond,
		"How long a request waits for the answer about its global rate limits")
}

// rateLimit is what the flags say to the features.
func (f *limitFlags) rateLimit() *all.RateLimit {
	return &all.RateLimit{Timeout: f.timeout, FailClosed: f.failClosed}
}

func ratelimitCommand() *cobra.Command {
	var f ratelimitFlags
	cmd := &cobra.Command{
		Use:   "ratelimit",
		Short: "Count requests for the global rate limits of a fleet",
		Long: `Answer Envoys that ask whether a request is within its global rate limits (envoy.service.ratelimit.v3). The
limits come with each question, so there is nothing to configure but where the counters are: in memory, or in a Redis or
Valkey that several of these services share.

On one machine sluice run does this itself. On Kubernetes the chart runs it: see its value rateLimit.`,
		Example: "  sluice ratelimit --address unix:/run/sluice/ratelimit.sock\n" +
			"  SLUICE_REDIS_URL=redis://redis:6379 sluice ratelimit --address 0.0.0.0:18002 --tls-dir /etc/sluice/identity",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := f.config.load(envoygateway.Count)
			if err != nil {
				return err
			}
			f.counters.take(cmd, config)
			log := newLogging(config.Logging).logger(cmd.ErrOrStderr(), egv1a1.LogComponentGlobalRateLimitRunner)
			return f.run(cmd.Context(), log)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.address, "address", fmt.Sprintf("127.0.0.1:%d", ratelimitPort),
		"Where Envoys ask: host:port, or unix:PATH")
	flags.StringVar(&f.tlsDir, "tls-dir", "",
		"Folder with tls.crt, tls.key and ca.crt: Envoys need a certificate of Sluice's. Required beyond this machine")
	flags.StringVar(&f.admin, "admin-address", "127.0.0.1:19002", "Address of health and metrics")
	f.counters.register(cmd)
	f.config.register(cmd)
	return cmd
}

// register adds the flags that sluice ratelimit and sluice run have in common.
func (c *counterFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.redisURL, "redis-url", "",
		"Redis or Valkey with the counters of global rate limits, redis://user:password@host:6379/0, rediss:// for TLS "+
			"(default: $SLUICE_REDIS_URL; without either they are in memory)")
	flags.StringVar(&c.redisTLS, "redis-tls-dir", "",
		"Folder with ca.crt for TLS with Redis, and tls.crt and tls.key if Redis asks for them (default: the system's CAs)")
	flags.IntVar(&c.memory, "ratelimit-memory", ratelimit.DefaultMemory>>20,
		"MiB that counters in memory may take; beyond them those go that have used least of their limit")
	flags.DurationVar(&c.timeout, "redis-timeout", service.DefaultBudget,
		"How long a request may wait for Redis; below the time that Envoy waits")
}

// store returns where the counters are. In its second part it needs run to be running.
func (c *counterFlags) store(metrics *service.Metrics, log *slog.Logger) (
	store ratelimit.Store, run func(context.Context), err error,
) {
	if url := c.url(); url != "" {
		config, err := c.tls()
		if err != nil {
			return nil, nil, err
		}
		s, err := redis.New(redis.Options{URL: url, TLS: config, Log: log})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Run, nil
	}
	memory := ratelimit.NewMemory(c.memory << 20)
	metrics.Watch(memory)
	return memory, memory.Run, nil
}

// url is read from the environment where the command line would show a password to everybody.
func (c *counterFlags) url() string {
	if c.redisURL != "" {
		return c.redisURL
	}
	return c.environment()
}

// environment is what the environment says of Redis.
func (c *counterFlags) environment() string { return os.Getenv("SLUICE_REDIS_URL") }

// tls returns nil if nothing is said of certificates.
func (c *counterFlags) tls() (*tls.Config, error) {
	if c.redisTLS == "" {
		return nil, nil //nolint:nilnil // there is none to configure
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	authority := filepath.Join(c.redisTLS, "ca.crt")
	bundle, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("--redis-tls-dir: %w", err)
	}
	if !config.RootCAs.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("--redis-tls-dir: %s has no certificate", authority)
	}
	certificate := filepath.Join(c.redisTLS, "tls.crt")
	if _, err := os.Stat(certificate); errors.Is(err, fs.ErrNotExist) {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, filepath.Join(c.redisTLS, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("--redis-tls-dir: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// countingGC is the garbage collector's target, in percent of what is kept. Decisions leave garbage and keep little:
// collecting it seldom is a third of their price.
const countingGC = 300

// run serves until the context ends.
func (f *ratelimitFlags) run(ctx context.Context, log *slog.Logger) error {
	limitGarbage(countingGC)
	options, err := f.credentials()
	if err != nil {
		return err
	}
	admin, err := ops.ListenPublic(f.admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	c := &counter{flags: f.counters, registry: ops.NewRegistry(), log: log}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, err := c.serve(ctx, f.address, options)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("Envoys are answered", "address", f.address, "redis", f.counters.url() != "")
	health := &ops.Admin{Metrics: c.registry, Public: true, Ready: func() error { return nil }}
	return ended(health.Serve(ctx, admin))
}

// counter is the service in this process.
type counter struct {
	flags    counterFlags
	registry *prometheus.Registry
	log      *slog.Logger
}

// serve answers at an address until the returned function is called, which is later than the context ends: Envoys that
// drain still ask.
func (c *counter) serve(ctx context.Context, address string, options []grpc.ServerOption) (stop func(), err error) {
	metrics := service.NewMetrics()
	if err := c.registry.Register(metrics); err != nil {
		return nil, fmt.Errorf("metrics of rate limits: %w", err)
	}
	store, work, err := c.flags.store(metrics, c.log)
	if err != nil {
		return nil, err
	}
	listener, err := listenRateLimit(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	working.Go(func() { work(ctx) })
	server := grpc.NewServer(append(service.ServerOptions(), options...)...)
	service.New(service.Options{Store: store, Budget: c.flags.timeout, Metrics: metrics}).Register(server)
	working.Go(func() {
		if err := server.Serve(listener); err != nil {
			c.log.Error("Requests are not counted any more", "error", err)
		}
	})
	return func() {
		server.GracefulStop()
		cancel()
		working.Wait()
	}, nil
}

// credentials returns how clients are known: by their certificate, or because they are on this machine.
func (f *ratelimitFlags) credentials() ([]grpc.ServerOption, error) {
	if f.tlsDir == "" {
		if !onThisMachine(f.address) {
			return nil, fmt.Errorf("--address %s: anybody who reaches it could use up the limits of others: "+
				"name a loopback address, unix:PATH, or a --tls-dir", f.address)
		}
		return nil, nil
	}
	config, err := pki.ServerFiles(f.tlsDir)
	if err != nil {
		return nil, fmt.Errorf("--tls-dir: %w", err)
	}
	return []grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(config)), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.UnaryInterceptor(envoysOnly),
	}, nil
}

// envoysOnly lets in those with the identity of a proxy.
func envoysOnly(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	id, err := identify(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := pki.ProxyOf(id); err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	return next(ctx, request)
}

func onThisMachine(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// listenRateLimit opens the socket. One in the file system is for this user only, and takes the place of one that was
// left behind.
func listenRateLimit(address string) (net.Listener, error) {
	path, local := strings.CutPrefix(address, "unix:")
	if !local {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("rate limits on %s: %w", address, err)
		}
		return l, nil
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("rate limits on %s: %w", address, err)
		}
	}
	l, err := net.Listen("unix", filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("rate limits on %s: %w", address, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("rate limits on %s: %w", address, err), l.Close())
	}
	return l, nil
}
