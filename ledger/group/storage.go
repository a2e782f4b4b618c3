package group

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	lockWait          = time.Second // for another process to leave the directory, as on a quick restart
	snapshotsRetained = 2
	storageIDBytes    = 8
	storageIDKey      = "weir-storage-id"
	termKey           = "CurrentTerm" // as the Raft library calls it
	logFile           = "raft.db"
)

// ErrInUse: the storage is open already, here or in another process.
var ErrInUse = errors.New("storage in use")

// Storage is where a server keeps its log, its votes and its snapshots.
type Storage interface {
	// Open returns the stores with what they held when they were last closed, or ErrInUse.
	Open() (Stores, error)
}

// Stores is an opened Storage.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	ID        string // of this storage; made with it and kept in Stable, so that a lost disk is seen to be lost
	Close     func() error
	Free      func() (bytes uint64, err error) // what is left of the disk; nil: always enough
}

// Disk returns a storage in a directory, which Open makes if need be: raft.db, a bbolt file that every write
// syncs, and the two newest snapshots. One process may have it open; Open waits a second for another to end.
func Disk(dir string) Storage { return disk{dir} }

type disk struct{ dir string }

func (d disk) Open() (Stores, error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return Stores{}, fmt.Errorf("make storage: %w", err)
	}
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(d.dir, logFile),
		// The free list is neither written nor sorted on each commit; a scan at open makes up for it.
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: lockWait},
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return Stores{}, fmt.Errorf("open storage %s: %w by another process", d.dir, ErrInUse)
	}
	if err != nil {
		return Stores{}, fmt.Errorf("open storage %s: %w", d.dir, err)
	}
	s := Stores{Log: db, Stable: db, Close: db.Close, Free: func() (uint64, error) { return freeBytes(d.dir) }}
	if s.Snapshots, err = raft.NewFileSnapshotStoreWithLogger(d.dir, snapshotsRetained, hclog.NewNullLogger()); err == nil {
		s.ID, err = storageID(db)
	}
	if err != nil {
		return Stores{}, fmt.Errorf("open storage %s: %w", d.dir, errors.Join(err, db.Close()))
	}
	return s, nil
}

// storageID reads the id of a storage, and makes it when the storage is new.
func storageID(s raft.StableStore) (string, error) {
	id, err := kept(s, storageIDKey)
	if err != nil {
		return "", fmt.Errorf("read storage id: %w", err)
	}
	if id != "" {
		return id, nil
	}
	fresh := make([]byte, storageIDBytes)
	_, _ = rand.Read(fresh) // never fails: it ends the program instead
	id = hex.EncodeToString(fresh)
	if err := s.Set([]byte(storageIDKey), []byte(id)); err != nil {
		return "", fmt.Errorf("write storage id: %w", err)
	}
	return id, nil
}

// kept reads a value, empty when there is none.
func kept(s raft.StableStore, key string) (string, error) {
	value, err := s.Get([]byte(key))
	if err != nil && err.Error() != "not found" { // as the Raft library itself tells the two apart
		return "", err
	}
	return string(value), nil
}
