package group

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Memory returns a storage in memory. Its content stays while the value lives: opening it again after Close
// is a restart of the server. It keeps one snapshot.
func Memory() Storage {
	return &memory{log: raft.NewInmemStore(), snapshots: &memorySnapshots{}}
}

type memory struct {
	log       *raft.InmemStore // of votes too
	snapshots *memorySnapshots

	mu   sync.Mutex
	open bool
}

// Open returns ErrInUse until the stores opened before are closed.
func (m *memory) Open() (Stores, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open {
		return Stores{}, fmt.Errorf("open storage in memory: %w", ErrInUse)
	}
	id, err := storageID(m.log)
	if err != nil {
		return Stores{}, err
	}
	m.open = true
	return Stores{Log: m.log, Stable: m.log, Snapshots: m.snapshots, ID: id, Close: m.close}, nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = false
	return nil
}

// memorySnapshots holds the newest complete snapshot. (The library's own shows one that is being written.)
type memorySnapshots struct {
	mu     sync.Mutex
	newest *memorySnapshot // nil: none yet
}

type memorySnapshot struct {
	meta    raft.SnapshotMeta
	content []byte
}

// Create starts a snapshot, which nobody sees before its Close.
func (m *memorySnapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration,
	membersIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &memorySink{of: m, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// List returns the newest snapshot, if there is one.
func (m *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest == nil {
		return nil, nil
	}
	meta := m.newest.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open reads a snapshot that List returned, unless a newer one has taken its place.
func (m *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest == nil || m.newest.meta.ID != id {
		return nil, nil, fmt.Errorf("open snapshot %s: not kept", id)
	}
	meta := m.newest.meta
	return &meta, io.NopCloser(bytes.NewReader(m.newest.content)), nil
}

// memorySink collects a snapshot.
type memorySink struct {
	bytes.Buffer
	of   *memorySnapshots
	meta raft.SnapshotMeta
}

// ID returns what Open takes.
func (s *memorySink) ID() string { return s.meta.ID }

// Close makes the snapshot the newest.
func (s *memorySink) Close() error {
	s.meta.Size = int64(s.Len())
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.of.newest = &memorySnapshot{meta: s.meta, content: s.Bytes()}
	return nil
}

// Cancel drops the snapshot.
func (s *memorySink) Cancel() error { return nil }
