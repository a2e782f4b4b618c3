//go:build linux || darwin || freebsd

package group

import "syscall"

// freeBytes is what is left of the disk that a directory is on, for who has no privileges.
func freeBytes(dir string) (uint64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return uint64(s.Bavail) * uint64(s.Bsize), err
}
