package local

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// portHolder names a process that listens on a port, for people: "envoy (process 4711)". It returns "" where that
// cannot be found out: on other systems than Linux, and for the processes of other users.
func portHolder(port model.PortKey) string {
	state := stateListen
	if port.Transport == model.OverUDP {
		state = stateUnconnected
	}
	inodes := map[string]bool{}
	for _, family := range []string{"", "6"} {
		socketInodes("/proc/net/"+port.Transport.String()+family, state, int(port.Port), inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || !inodes[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return ""
}

// The states of sockets in /proc/net. A UDP socket does not listen: as long as it is not connected it is in the state
// that TCP calls closed.
const (
	stateListen      = "0A"
	stateUnconnected = "07"
)

// anyPort stands for all ports.
const anyPort = -1

// socketInodes adds the sockets of the port that are in a state, in the form in which links to them are written, from a
// table in the format of /proc/net/tcp: number, local address, remote address, state, four more, inode.
func socketInodes(table, state string, port int, inodes map[string]bool) {
	file, err := os.Open(table)
	if err != nil {
		return
	}
	defer file.Close() //nolint:errcheck // only read
	const fieldAddress, fieldState, fieldInode = 1, 3, 9
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) <= fieldInode || fields[fieldState] != state {
			continue
		}
		_, hex, _ := strings.Cut(fields[fieldAddress], ":")
		if have, err := strconv.ParseUint(hex, 16, 16); err == nil && (port == anyPort || int(have) == port) {
			inodes["socket:["+fields[fieldInode]+"]"] = true
		}
	}
}
