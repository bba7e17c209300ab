package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The workers of all Envoys that listen on a port share its new connections: their sockets are one group, of which the
// kernel picks a member for each connection (SO_REUSEPORT). A connection is lost if its socket is closed before the
// worker has accepted it. So before an Envoy goes, the kernel is told to pick others, by a program for the group. It
// can be attached through any of the sockets; those of a child can be had by pidfd_getfd(2).

// bound is where a socket listens.
type bound struct {
	address netip.AddrPort
	// only is set for an IPv6 socket that takes no IPv4.
	only bool
}

// steer has the kernel give new connections to the process next, where it listens as the process old does, and none to
// old. Both must live, and next must have begun to listen after old: members of a group are numbered as they joined.
func steer(next, old int) error {
	return eachGroup(next, old, func(socket int, news, olds int) error {
		program := pick(uint32(olds), uint32(news)) //nolint:gosec // numbers of sockets
		return unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{
			Len: uint16(len(program)), Filter: &program[0], //nolint:gosec // it has four instructions
		})
	})
}

// release has the kernel pick any socket of a process again.
func release(pid int) error {
	return eachGroup(pid, 0, func(socket int, _, _ int) error {
		err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DETACH_REUSEPORT_BPF, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil // it has none
		}
		return err
	})
}

// pick is a program that returns a random number from first on, of as many as there are.
func pick(first, many uint32) []unix.SockFilter {
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: many},
		{Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: first},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
}

// eachGroup calls f for each place where a process listens, with one of its sockets there, and the numbers of its
// sockets and of those of another process, 0 for none. Places where only the other one of two listens are left out.
func eachGroup(pid, other int, f func(socket, own, others int) error) error {
	own, err := listening(pid)
	if err != nil {
		return err
	}
	defer closeAll(own)
	others := map[bound][]int{}
	if other != 0 {
		if others, err = listening(other); err != nil {
			return err
		}
		defer closeAll(others)
	}
	var problems error
	for where, sockets := range own {
		if other != 0 && len(others[where]) == 0 {
			continue
		}
		if err := f(sockets[0], len(sockets), len(others[where])); err != nil {
			problems = errors.Join(problems, fmt.Errorf("the sockets of %s: %w", where.address, err))
		}
	}
	return problems
}

func closeAll(sockets map[bound][]int) {
	for _, list := range sockets {
		for _, fd := range list {
			_ = unix.Close(fd)
		}
	}
}

// listening returns the TCP sockets on which a process listens. They are duplicates: as long as they are open, so are
// the sockets. They are plain descriptors, because an os.File would have the sockets block, for Envoy too.
func listening(pid int) (map[bound][]int, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(process) //nolint:errcheck // nothing was written
	folder := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("the files of process %d: %w", pid, err)
	}
	wanted := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		socketInodes(table, stateListen, anyPort, wanted)
	}
	out := map[bound][]int{}
	for _, entry := range entries {
		link, err := os.Readlink(filepath.Join(folder, entry.Name()))
		if err != nil || !wanted[link] {
			continue
		}
		delete(wanted, link) // it can be open more than once: an Envoy duplicates it when its listener changes
		fd, err := duplicate(process, entry.Name())
		if errors.Is(err, unix.EBADF) {
			continue // it was closed meanwhile
		}
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("the sockets of process %d: %w", pid, err)
		}
		if where, ok := listens(fd); ok {
			out[where] = append(out[where], fd)
		} else {
			_ = unix.Close(fd)
		}
	}
	return out, nil
}

// duplicate returns a duplicate of a file descriptor of a process.
func duplicate(process int, number string) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, err
	}
	return unix.PidfdGetfd(process, n, 0)
}

// listens returns where a socket listens; false if it does not, or not for TCP.
func listens(fd int) (bound, bool) {
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
		return bound{}, false
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return bound{}, false
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return bound{address: netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))}, true //nolint:gosec // a port
	case *unix.SockaddrInet6:
		only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		return bound{
			address: netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), //nolint:gosec // a port
			only:    only == 1,
		}, err == nil
	}
	return bound{}, false
}
