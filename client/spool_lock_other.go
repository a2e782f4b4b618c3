//go:build !unix

package client

import "os"

// lockFile returns the file at path. This system has no lock that ends with the process, so nothing keeps a second
// client out.
func lockFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }
