package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Snapshots keeps the newest snapshot of what a node is home and deputy of. One process uses it, one call at a time.
type Snapshots interface {
	// Open reads the newest snapshot; nil when there is none.
	Open() (io.ReadCloser, error)
	// Save has what write writes take the place of the newest one, once all of it is sure to stay. After an error, also
	// one of write, the newest one is as it was.
	Save(write func(io.Writer) error) error
	// SetAside keeps the newest one apart, so that Open finds none and a person can look at it, and returns where. Of those
	// set aside before it keeps one more.
	SetAside(at time.Time) (where string, err error)
}

// SnapshotsIn keeps them in a directory.
func SnapshotsIn(dir string) Snapshots { return snapshotDir(dir) }

type snapshotDir string

const (
	snapshotName = "partitions.snapshot"
	asideMax     = 2
	// syncBytes are written at most between two syncs: more would have the Raft log's syncs wait.
	syncBytes = 4 << 20
)

func (d snapshotDir) path() string { return filepath.Join(string(d), snapshotName) }

// Open opens the file.
func (d snapshotDir) Open() (io.ReadCloser, error) {
	f, err := os.Open(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	return f, nil
}

// Save writes another file and renames it.
func (d snapshotDir) Save(write func(io.Writer) error) error {
	next := d.path() + ".new"
	err := writeFile(next, write)
	if err == nil {
		err = os.Rename(next, d.path())
	}
	if err != nil {
		_ = os.Remove(next) // what is left of it, if anything is
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("sync snapshot's directory: %w", err)
	}
	return nil
}

func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(&syncing{f: f}); err != nil {
		return err
	}
	return f.Sync()
}

// syncing syncs a file now and again.
type syncing struct {
	f     *os.File
	since int
}

func (s *syncing) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	if s.since += n; err == nil && s.since >= syncBytes {
		s.since, err = 0, s.f.Sync()
	}
	return n, err
}

func (d snapshotDir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// SetAside renames the file.
func (d snapshotDir) SetAside(at time.Time) (string, error) {
	where := d.path() + ".bad-" + at.UTC().Format("20060102T150405.000")
	if err := os.Rename(d.path(), where); err != nil {
		return "", fmt.Errorf("set snapshot aside: %w", err)
	}
	old, err := filepath.Glob(d.path() + ".bad-*")
	if err != nil {
		return where, fmt.Errorf("look for snapshots set aside: %w", err)
	}
	slices.Sort(old)
	for _, path := range old[:max(0, len(old)-asideMax)] {
		if path == where {
			continue // the clock went back
		}
		if err := os.Remove(path); err != nil {
			return where, fmt.Errorf("remove what was set aside long ago: %w", err)
		}
	}
	return where, d.sync()
}
