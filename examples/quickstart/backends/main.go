// Command backends runs the backends of the examples: two servers that answer each request with what they received.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sluice-gateway/sluice/test/echo"
)

func main() {
	one := flag.String("one", "127.0.0.1:9101", "address of backend one")
	two := flag.String("two", "127.0.0.1:9102", "address of backend two")
	socket := flag.String("socket", filepath.Join(os.TempDir(), "sluice-example.sock"), "Unix socket of backend three")
	flag.Parse()
	if err := run(*one, *two, *socket); err != nil {
		fmt.Fprintln(os.Stderr, "backends:", err)
		os.Exit(1)
	}
}

// run serves until the process is asked to end.
func run(one, two, socket string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for name, address := range map[string]string{"one": one, "two": two} {
		s, err := echo.Listen(name, address)
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
	}
	s, err := echo.ListenUnix("three", socket)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	<-stop
	return nil
}
