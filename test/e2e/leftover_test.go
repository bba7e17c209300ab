package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// running returns the command lines of the instance's processes by process id. They are known by its folder, which
// sluice and Envoy have in their arguments.
func (in *instance) running() map[int]string {
	in.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		in.t.Fatal(err)
	}
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process can end at any time, and one that has ended but was not waited for has no command line.
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(cmdline, []byte(in.root)) {
			found[pid] = strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// envoyPID returns the process id of the instance's Envoy, 0 if there is none.
func (in *instance) envoyPID() int {
	in.t.Helper()
	for pid, cmdline := range in.running() {
		if strings.HasPrefix(cmdline, shared.envoy+" ") {
			return pid
		}
	}
	return 0
}

// checkNothingLeft fails the test if a process or a socket of the instance outlives it.
func (in *instance) checkNothingLeft() {
	in.t.Helper()
	if err := in.gone(); err != nil {
		in.t.Error(err)
	}
	err := filepath.WalkDir(filepath.Join(in.root, "run"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			in.t.Errorf("the socket %s is left behind", path)
		}
		return nil
	})
	if err != nil {
		in.t.Error(err)
	}
}

// gone waits a moment for all processes of the instance to end, and returns an error if one does not.
func (in *instance) gone() error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		left := in.running()
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("these processes are left behind: %v", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
