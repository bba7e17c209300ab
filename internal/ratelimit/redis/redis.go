// Package redis keeps the counters of rate limits in Redis or Valkey, where several services share them.
//
// A decision is one script on one connection, whatever the number of counters: it sees and changes them all at once,
// with the server's clock, and does exactly what the store in memory does. Requests that are decided at the same time
// share round trips. The counters of a Redis Cluster are on one of its shards, because a script reaches no further.
package redis

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

//go:embed take.lua
var takeScript string

// take runs by its hash; a server that does not know it yet gets it.
var take = rueidis.NewLuaScript(takeScript)

// ErrNotConnected is returned while there is no connection.
var ErrNotConnected = errors.New("not connected to Redis")

const (
	// dialTimeout and silence are when a server counts as gone: connections are then made anew.
	dialTimeout, silence = time.Second, time.Second
	retryEvery           = 500 * time.Millisecond
	bufferBytes          = 64 << 10
	// prefix has the hash tag that keeps all counters on one shard of a cluster.
	prefix = "sluice:{ratelimit}:"
	// perHit is how many values the script takes, answers how many it returns, for each counter.
	perHit, answersPerHit = 5, 3
)

// Options are the settings of a [Store].
type Options struct {
	// URL is where the server is: redis://user:password@host:6379/0, rediss:// over TLS, unix:///path, or host:port.
	// With ?master_set=NAME the hosts are Sentinels; further ones are given by &addr=host:port.
	URL string
	// TLS are the certificates to use, nil for the system's. With it a host:port is asked over TLS too.
	TLS *tls.Config
	// Log is where it is said that a connection is made, or cannot be.
	Log *slog.Logger
}

// Store is a [ratelimit.Store] in Redis 5 or later, or Valkey.
type Store struct {
	options rueidis.ClientOption
	log     *slog.Logger
	client  atomic.Pointer[rueidis.Client]
	// ahead is by how many microseconds the server's clock is taken to be ahead: 0, but in tests.
	ahead atomic.Int64
}

// New returns a store that is not connected yet: see [Store.Run]. It returns an error if the URL is none.
func New(o Options) (*Store, error) {
	address := o.URL
	if !strings.Contains(address, "://") {
		scheme := "redis://"
		if o.TLS != nil {
			scheme = "rediss://"
		}
		address = scheme + address
	}
	client, err := rueidis.ParseURL(address)
	if err != nil {
		// The library's words would repeat the URL, and with it the password.
		return nil, errors.New("the URL of Redis is not understood: use redis://user:password@host:6379/0, " +
			"rediss:// for TLS, or host:port")
	}
	if o.TLS != nil {
		client.TLSConfig = merged(client.TLSConfig, o.TLS)
	}
	client.ClientName = "sluice-ratelimit"
	client.DisableCache, client.AlwaysPipelining, client.DisableRetry = true, true, true
	client.Dialer = net.Dialer{Timeout: dialTimeout, KeepAlive: dialTimeout}
	client.ConnWriteTimeout = silence
	client.ReadBufferEachConn, client.WriteBufferEachConn = bufferBytes, bufferBytes
	client.PipelineMultiplex = 1
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{options: client, log: log}, nil
}

// merged gives the configuration the name that the URL says.
func merged(byURL, given *tls.Config) *tls.Config {
	out := given.Clone()
	if byURL != nil && out.ServerName == "" {
		out.ServerName = byURL.ServerName
	}
	return out
}

// Run connects, however long it takes until the server is there, and disconnects when the context ends. A service whose
// Redis comes later starts without it, and decides when it is there.
func (s *Store) Run(ctx context.Context) {
	var said string
	for ctx.Err() == nil {
		client, err := rueidis.NewClient(s.options)
		if err == nil {
			s.client.Store(&client)
			s.log.Info("Connected to Redis")
			break
		}
		if err.Error() != said {
			said = err.Error()
			s.log.Warn("There is no connection to Redis yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
	<-ctx.Done()
	if client := s.client.Swap(nil); client != nil {
		(*client).Close()
	}
}

// Take is that of [ratelimit.Store]. It returns an error when the context ends, whatever the server does.
func (s *Store) Take(ctx context.Context, hits []ratelimit.Hit, answers []ratelimit.Answer) error {
	client := s.client.Load()
	if client == nil {
		return ErrNotConnected
	}
	keys := make([]string, len(hits))
	args := make([]string, 2, 2+perHit*len(hits))
	args[0], args[1] = strconv.Itoa(ratelimit.Slices), strconv.FormatInt(s.ahead.Load(), 10)
	for i := range hits {
		h := &hits[i]
		keys[i] = prefix + base64.RawURLEncoding.EncodeToString(h.Key[:])
		args = append(args,
			strconv.FormatUint(uint64(h.Limit.Requests), 10),
			strconv.FormatInt(h.Limit.Unit.Length().Microseconds(), 10),
			strconv.FormatInt(h.Cost, 10), flag(h.Force), flag(h.Shadow))
	}
	out, err := take.Exec(ctx, *client, keys, args).AsIntSlice()
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if len(out) != answersPerHit*len(hits) {
		return fmt.Errorf("redis: the script returned %d values for %d counters", len(out), len(hits))
	}
	for i := range hits {
		over, used, reset := out[answersPerHit*i], out[answersPerHit*i+1], out[answersPerHit*i+2]
		limit := int64(hits[i].Limit.Requests)
		answers[i] = ratelimit.Answer{
			Over: over == 1, Remaining: uint32(limit - min(limit, used)), Reset: time.Duration(reset) * time.Microsecond,
		}
	}
	return nil
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}
