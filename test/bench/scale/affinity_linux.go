package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// reserve has a process run on the last of the CPUs, and this one with all others that it started on the others, until
// release is called.
func reserve(pid int) (release func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	if all.Count() < 2 {
		return nil, errors.New("there is one CPU only")
	}
	last := 0
	for cpu := range 8 * int(unsafe.Sizeof(all)) {
		if all.IsSet(cpu) {
			last = cpu
		}
	}
	own, others := unix.CPUSet{}, all
	own.Set(last)
	others.Clear(last)
	return func() error { return assignAll(pid, &all, &all) }, assignAll(pid, &own, &others)
}

// assignAll gives a process some CPUs, and this one and all others that it started others.
func assignAll(pid int, own, others *unix.CPUSet) error {
	for _, other := range append(usage.Descendants(os.Getpid()), os.Getpid()) {
		cpus := others
		if other == pid {
			cpus = own
		}
		if err := assign(other, cpus); err != nil {
			return err
		}
	}
	return nil
}

// assign gives all threads of a process some CPUs. Threads to come get those of the thread that makes them.
func assign(pid int, cpus *unix.CPUSet) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, cpus); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return fmt.Errorf("CPUs of process %d: %w", pid, err)
		}
	}
	return nil
}
