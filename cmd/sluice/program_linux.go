package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// unmapProgram gives back the pages of the program itself that only its start needed, about half of them. One that is
// needed again comes from the page cache. Errors are of no interest: nothing depends on it.
func unmapProgram() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer file.Close() //nolint:errcheck // it was only read
	var start, end uint64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			start, end = 0, 0
			if fields[5] == self && !strings.Contains(fields[1], "w") {
				start, end = span(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && start < end:
			// None of its pages was written to, so all are in the file.
			_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, uintptr(start), uintptr(end-start), syscall.MADV_DONTNEED)
		}
	}
}

// span reads a range of addresses as /proc has it, "1f000-2a000"; nothing if it is none.
func span(text string) (start, end uint64) {
	from, to, _ := strings.Cut(text, "-")
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return 0, 0
	}
	if end, err = strconv.ParseUint(to, 16, 64); err != nil {
		return 0, 0
	}
	return start, end
}
