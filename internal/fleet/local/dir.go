package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// RuntimeDir is the directory with everything that exists only while an Envoy runs: its sockets and its bootstrap.
// Only the user who runs Sluice can look into it. It is locked as long as the process that opened it lives.
type RuntimeDir struct {
	path string
	lock *os.File
}

const (
	// adminSocket is a symbolic link to the socket of the Envoy that serves. Those have the longest names of all sockets:
	// the length of their paths is checked.
	adminSocket     = "admin.sock"
	xdsSocket       = "xds.sock"
	ratelimitSocket = "limit.sock"
	lockFile        = "lock"
	dirPrefix       = "sluice-"
)

// maxSocketPath is how many bytes the path of a Unix socket may have: 107 on Linux. One more ends it.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// OpenRuntimeDir makes a new directory in base, which is made if it is missing. An empty base is $XDG_RUNTIME_DIR, or
// the directory for temporary files if that is not set or too long a path for sockets; an explicit base that is too
// long is an error. Directories in base that were left behind by processes that were killed are removed.
func OpenRuntimeDir(base string) (*RuntimeDir, error) {
	candidates := []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"}
	if base != "" {
		candidates = []string{base}
		if err := os.MkdirAll(base, 0o700); err != nil {
			return nil, fmt.Errorf("make a runtime directory: %w", err)
		}
	}
	var problems error
	for _, candidate := range candidates {
		if candidate == "" {
			continue
		}
		dir, err := openIn(candidate)
		if err == nil {
			return dir, nil
		}
		problems = errors.Join(problems, err)
	}
	return nil, fmt.Errorf("make a runtime directory: %w", problems)
}

func openIn(base string) (*RuntimeDir, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	removeStale(base)
	// The random part lets a process have more than one, and nobody guess the name in a directory that all may write.
	path, err := os.MkdirTemp(base, dirPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	dir := &RuntimeDir{path: path}
	if have := len(dir.adminSocketOf(0)); have > maxSocketPath {
		return nil, errors.Join(os.Remove(path), fmt.Errorf("%s is too long a path: the path of a socket in it has "+
			"%d bytes and %d are allowed; set XDG_RUNTIME_DIR or TMPDIR to a shorter one", base, have, maxSocketPath))
	}
	if dir.lock, err = lock(filepath.Join(path, lockFile)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return dir, nil
}

// JoinRuntimeDir returns the directory that another process has opened at a path. It is that process's to remove.
func JoinRuntimeDir(path string) *RuntimeDir { return &RuntimeDir{path: path} }

// Path returns the absolute path of the directory.
func (d *RuntimeDir) Path() string { return d.path }

// seats is how many Envoys there can be at a time: one that serves, and one that takes over or goes.
const seats = 2

// adminSocketOf returns the path for the socket of the admin interface of the Envoy in a seat.
func (d *RuntimeDir) adminSocketOf(seat int) string {
	return filepath.Join(d.path, fmt.Sprintf("admin.%d.sock", seat))
}

// bootstrapOf returns the path for the bootstrap of the Envoy in a seat.
func (d *RuntimeDir) bootstrapOf(seat int) string {
	return filepath.Join(d.path, fmt.Sprintf("bootstrap.%d.json", seat))
}

// present makes the Envoy in a seat the one that AdminSocket leads to.
func (d *RuntimeDir) present(seat int) error {
	staged := filepath.Join(d.path, "admin.new")
	_ = os.Remove(staged) // one that was not renamed
	if err := os.Symlink(d.adminSocketOf(seat), staged); err != nil {
		return fmt.Errorf("name the admin interface: %w", err)
	}
	if err := os.Rename(staged, d.AdminSocket()); err != nil {
		return fmt.Errorf("name the admin interface: %w", err)
	}
	return nil
}

// clear removes what the Envoy in a seat has left.
func (d *RuntimeDir) clear(seat int) {
	_ = os.Remove(d.adminSocketOf(seat)) // what cannot be removed goes with the directory
	_ = os.Remove(d.bootstrapOf(seat))
}

// AdminSocket returns the path for the socket of the admin interface of the Envoy that serves.
func (d *RuntimeDir) AdminSocket() string { return filepath.Join(d.path, adminSocket) }

// XDSSocket returns the path for the socket on which Sluice serves xDS.
func (d *RuntimeDir) XDSSocket() string { return filepath.Join(d.path, xdsSocket) }

// RateLimitSocket returns the path for the socket on which Sluice counts requests for global rate limits.
func (d *RuntimeDir) RateLimitSocket() string { return filepath.Join(d.path, ratelimitSocket) }

// Remove removes the directory with everything in it. Removing it twice is no error.
func (d *RuntimeDir) Remove() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("remove the runtime directory: %w", err)
	}
	// Last, for until then the directory must not look left behind. Closing twice fails, harmlessly.
	_ = d.lock.Close()
	return nil
}

var dirPattern = regexp.MustCompile(`^` + dirPrefix + `([0-9]+)-[0-9]+$`)

// removeStale removes what dead processes of this user left in base. It is housekeeping: what cannot be removed stays.
func removeStale(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, entry := range entries {
		match := dirPattern.FindStringSubmatch(entry.Name())
		if match == nil || !entry.IsDir() || !ownedByUser(entry) {
			continue
		}
		path := filepath.Join(base, entry.Name())
		if pid, err := strconv.Atoi(match[1]); err != nil || alive(pid) || locked(filepath.Join(path, lockFile)) {
			continue
		}
		_ = os.RemoveAll(path)
	}
}

func ownedByUser(entry os.DirEntry) bool {
	info, err := entry.Info()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// locked reports whether some process holds the lock. The process id alone does not tell: another container that
// shares the directory has process ids of its own.
func locked(path string) bool {
	file, err := lock(path)
	if err == nil {
		_ = file.Close() // was only opened to ask
		return false
	}
	return errors.Is(err, errLocked)
}

var errLocked = errors.New("is locked by another process")

// lock makes the file, if need be, and locks it until it is closed or the process ends. It does not wait: the error
// wraps errLocked if another process has the lock.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s %w", path, err), file.Close())
	}
	return file, nil
}
