package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// groups is where control groups are mounted.
const groups = "/sys/fs/cgroup"

// Group is a control group, by its path below the root of each hierarchy: "sluice-dev". Everything that runs in it or
// below it belongs together.
type Group string

// hierarchies returns the mounted hierarchies: one with version 2, one for each set of controllers with version 1.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(groups, "cgroup.controllers")); err == nil {
		return []string{groups}
	}
	var out []string
	entries, err := os.ReadDir(groups)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		dir := filepath.Join(groups, entry.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && entry.Type()&fs.ModeSymlink == 0 {
			out = append(out, dir)
		}
	}
	return out
}

// trackedRoot returns the hierarchy in which processes are found again: containers are in a group of each, so any does
// that a container runtime uses.
func trackedRoot() (string, error) {
	all := hierarchies()
	for _, dir := range append([]string{groups}, filepath.Join(groups, "pids"), filepath.Join(groups, "memory")) {
		if slices.Contains(all, dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no control groups are mounted at %s", groups)
}

// Create makes the group in each hierarchy; it may be there already.
func (g Group) Create() error {
	for _, dir := range hierarchies() {
		if err := os.MkdirAll(filepath.Join(dir, string(g)), 0o755); err != nil { //nolint:gosec // as runtimes make them
			return fmt.Errorf("make a control group: %w", err)
		}
	}
	return nil
}

// Join moves the calling process, with its threads, into the group, where Kill finds it and all that it starts.
func (g Group) Join() error {
	root, err := trackedRoot()
	if err != nil {
		return err
	}
	file := filepath.Join(root, string(g), "cgroup.procs")
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		return fmt.Errorf("join the control group %s: %w", g, err)
	}
	return nil
}

// Processes returns the processes in the group and below it; none if there is no such group.
func (g Group) Processes() ([]int, error) {
	root, err := trackedRoot()
	if err != nil {
		return nil, err
	}
	var out []int
	err = filepath.WalkDir(filepath.Join(root, string(g)), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it went away meanwhile
			return nil
		}
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, convErr := strconv.Atoi(field); convErr == nil && pid > 0 {
				out = append(out, pid)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes of the control group %s: %w", g, err)
	}
	return out, nil
}

// Kill ends every process of the group, also those that are started meanwhile, and returns when none is left.
func (g Group) Kill(timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		pids, err := g.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the control group %s do not end", pids, g)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// Remove removes the group and all below it from each hierarchy. No process may be left in it.
func (g Group) Remove() error {
	var problems []error
	for _, dir := range hierarchies() {
		problems = append(problems, removeGroup(filepath.Join(dir, string(g))))
	}
	return errors.Join(problems...)
}

func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeGroup(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	// A group counts as busy for a moment after its last process ended.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Rmdir(dir)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove the control group %s: %w", dir, err)
		}
	}
}

// Exists reports whether any hierarchy has the group.
func (g Group) Exists() bool {
	return slices.ContainsFunc(hierarchies(), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, string(g)))
		return err == nil
	})
}
