package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

const dialTimeout = 5 * time.Second

// forward serves, where it was started, what listens on an address in the network of another process.
func forward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ExitOnError)
	pid := flags.Int("pid", 0, "process in whose network to dial")
	listen := flags.String("listen", "", "address to listen on")
	to := flags.String("to", "", "address to dial")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := relay(conn, *pid, *to); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
}

func relay(client net.Conn, pid int, to string) error {
	defer client.Close() //nolint:errcheck // what was to be said was said
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	server, err := namespace.Dial(ctx, pid, "tcp", to)
	if err != nil {
		return fmt.Errorf("forward to %s: %w", to, err)
	}
	defer server.Close() //nolint:errcheck // what was to be said was said
	done := make(chan error, 2)
	pass := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(*net.TCPConn); ok {
			err = errors.Join(err, half.CloseWrite())
		}
		done <- err
	}
	go pass(server, client)
	go pass(client, server)
	// Either side may end its half; only both ends, or an error, end the connection.
	if err := <-done; err != nil {
		return fmt.Errorf("forward to %s: %w", to, err)
	}
	return <-done
}
