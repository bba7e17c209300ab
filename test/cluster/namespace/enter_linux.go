package namespace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Isolate makes a command start with network interfaces and mounts of its own and in a session of its own, so that it
// outlives whoever started it.
func Isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
}

// Detach makes a command start in a session of its own, so that it outlives whoever started it.
func Detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// Enter moves the calling thread into the network and the mounts of a process. The caller must have locked the thread,
// and never unlock it; the next call should be exec.
func Enter(pid int) error {
	for _, ns := range []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}} {
		if ns.flag == unix.CLONE_NEWNS { // a thread that shares its root folder with others may not change mounts
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("leave the shared root folder: %w", err)
			}
		}
		if err := set(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name), ns.flag); err != nil {
			return err
		}
	}
	return nil
}

func set(path string, flag int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the namespace %s: %w", path, err)
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	if err := unix.Setns(fd, flag); err != nil {
		return fmt.Errorf("enter the namespace %s (this needs root): %w", path, err)
	}
	return nil
}

// Do calls f in the network of a process. Sockets that f makes stay there; goroutines that it starts do not run there.
func Do(pid int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer own.Close() //nolint:errcheck // only read
		if err = set(fmt.Sprintf("/proc/%d/ns/net", pid), unix.CLONE_NEWNET); err == nil {
			err = f()
		}
		// A thread that cannot go back stays locked and ends with the goroutine.
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Dial connects from the network of a process to an address of literal IP and port.
func Dial(ctx context.Context, pid int, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil { // looking a name up would start goroutines, which are elsewhere
		return nil, fmt.Errorf("dial %s: it is not an IP address", address)
	}
	var conn net.Conn
	err = Do(pid, func() error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Supported returns why this process may not make namespaces, or nil.
func Supported() error {
	if unix.Geteuid() != 0 {
		return errors.New("it needs root, to make network namespaces")
	}
	if _, err := trackedRoot(); err != nil {
		return err
	}
	probe := exec.Command("true")
	Isolate(probe)
	if err := probe.Run(); err != nil {
		return fmt.Errorf("network namespaces cannot be made here: %w", err)
	}
	return nil
}
