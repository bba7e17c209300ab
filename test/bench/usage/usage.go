// Package usage says what processes use of the machine, from /proc.
package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Descendants returns the processes that a process has started, and those that these have started.
func Descendants(of int) []int {
	parents := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if fields, err := stat(pid); err == nil {
				parent, _ := strconv.Atoi(fields[1])
				parents[parent] = append(parents[parent], pid)
			}
		}
	}
	var out []int
	for queue := []int{of}; len(queue) > 0; queue = queue[1:] {
		out = append(out, parents[queue[0]]...)
		queue = append(queue, parents[queue[0]]...)
	}
	return out
}

// stat returns the fields of /proc/PID/stat from the state on, which is after the name in parentheses.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	i := strings.LastIndexByte(string(b), ')')
	fields := strings.Fields(string(b[i+1:]))
	if i < 0 || len(fields) < 20 {
		return nil, errors.New("unexpected format of /proc/PID/stat")
	}
	return fields, nil
}

// CPU returns the CPU time that processes have used together, in steps of 10 ms.
func CPU(pids ...int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		user, err1 := strconv.Atoi(fields[11])
		system, err2 := strconv.Atoi(fields[12])
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		sum += time.Duration(user+system) * 10 * time.Millisecond
	}
	return sum, nil
}

// Resident returns the memory of processes in MiB, now and at most, summed.
func Resident(pids ...int) (now, peak float64, err error) {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			kib, _ := strconv.ParseFloat(fields[1], 64)
			switch fields[0] {
			case "VmRSS:":
				now += kib / 1024
			case "VmHWM:":
				peak += kib / 1024
			}
		}
	}
	return now, peak, nil
}
