package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/internal/model"
)

func tcp(port uint16) model.PortKey { return model.PortKey{Port: port} }

// occupy listens as Envoy does, with SO_REUSEPORT, and returns the port.
func occupy(t *testing.T, address string) uint16 {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, failed)
	}}
	listener, err := config.Listen(context.Background(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return uint16(listener.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
}

func TestProbePortInUse(t *testing.T) {
	for _, holder := range []string{"127.0.0.1", "0.0.0.0", ""} {
		port := tcp(occupy(t, holder))
		for _, probe := range []string{"127.0.0.1", "0.0.0.0", "::", ""} {
			t.Run(fmt.Sprintf("%q by %q", probe, holder), func(t *testing.T) {
				err := ProbePort(probe, port)
				if !errors.Is(err, ErrPortInUse) {
					t.Fatalf("ProbePort = %v, want ErrPortInUse", err)
				}
				if want := fmt.Sprintf("(process %d)", os.Getpid()); !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name the holder, %s", err, want)
				}
			})
		}
	}
}

// TestProbePortUDP: a UDP port is taken by a UDP socket, and by no TCP listener of the same number.
func TestProbePortUDP(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	number := uint16(socket.LocalAddr().(*net.UDPAddr).Port) //nolint:gosec // a port
	taken := model.PortKey{Port: number, Transport: model.OverUDP}
	err = ProbePort("127.0.0.1", taken)
	if !errors.Is(err, ErrPortInUse) {
		t.Fatalf("ProbePort = %v, want ErrPortInUse", err)
	}
	if want := fmt.Sprintf("UDP port %d", taken.Port); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say %q", err, want)
	}
	if want := fmt.Sprintf("(process %d)", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name the holder, %s", err, want)
	}
	free := model.PortKey{Port: occupy(t, "127.0.0.1"), Transport: model.OverUDP}
	if err := ProbePort("127.0.0.1", free); err != nil {
		t.Errorf("a UDP port whose number a TCP listener has: %v", err)
	}
}

func TestProbePortFree(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(listener.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	// A probe that left its socket open would make the next one fail.
	for _, address := range []string{"127.0.0.1", "0.0.0.0", "::", "", "127.0.0.1"} {
		if err := ProbePort(address, tcp(port)); err != nil {
			t.Errorf("ProbePort(%q): %v", address, err)
		}
	}
}

func TestProbePortExplains(t *testing.T) {
	if err := ProbePort("192.0.2.1", tcp(8080)); !errors.Is(err, ErrNoSuchAddress) {
		t.Errorf("an address for documentation: %v, want ErrNoSuchAddress", err)
	}
	if err := ProbePort("localhost", tcp(8080)); err == nil || !strings.Contains(err.Error(), "not an IP address") {
		t.Errorf("a name: %v", err)
	}
	err := explainListen("", tcp(80), &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)})
	if !errors.Is(err, ErrPortPermission) {
		t.Errorf("EACCES: %v, want ErrPortPermission", err)
	}
	for _, want := range []string{"port 80", "CAP_NET_BIND_SERVICE", "1024", "net.ipv4.ip_unprivileged_port_start"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
