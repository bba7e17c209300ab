package cluster

import "golang.org/x/sys/unix"

// snapshotter returns the kind of containerd's that works on the file system of a folder: an overlay cannot have
// another as its upper layer, as where this runs in a container.
func snapshotter(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err == nil && stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}
