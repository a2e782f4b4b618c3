package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/hashicorp/raft"
)

// image is what is on a disk.
type image struct {
	logs     map[uint64]*raft.Log
	low, top uint64 // indexes of the first and the last log; 0: none
	words    map[string][]byte
	numbers  map[string]uint64
	snapshot *snapshot // nil: none yet
	kept     []byte    // the newest snapshot of partitions; nil: none
	aside    int       // those set aside
	orphan   bool      // its process is gone: writes cost nothing and reach nobody
}

type snapshot struct {
	meta    raft.SnapshotMeta
	content []byte
}

func newImage() *image {
	return &image{logs: make(map[uint64]*raft.Log), words: make(map[string][]byte), numbers: make(map[string]uint64)}
}

func (m *image) clone() *image {
	c := *m
	c.logs, c.words, c.numbers, c.orphan = maps.Clone(m.logs), maps.Clone(m.words), maps.Clone(m.numbers), false
	return &c
}

func (m *image) store(logs []*raft.Log) {
	for _, l := range logs {
		m.logs[l.Index] = l
		if m.low == 0 || l.Index < m.low {
			m.low = l.Index
		}
		m.top = max(m.top, l.Index)
	}
}

func (m *image) deleteRange(from, to uint64) {
	for i := from; i <= to; i++ {
		delete(m.logs, i)
	}
	if from <= m.low {
		m.low = to + 1
	}
	if to >= m.top {
		m.top = from - 1
	}
	if m.low > m.top {
		m.low, m.top = 0, 0
	}
}

// handle is a disk that a process has open. After a crash it works on by itself.
type handle struct {
	d     *disk
	image *image
}

var (
	_ raft.LogStore    = (*handle)(nil)
	_ raft.StableStore = (*handle)(nil)
)

// errNotFound says it as the Raft library wants to hear it.
var errNotFound = errors.New("not found")

func (h *handle) close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if !h.image.orphan {
		h.d.open = false
	}
	return nil
}

// write carries a write out as the disk is now: it may fail, wait, and take its time. count is of log entries, 0
// for what cannot be torn.
func (h *handle) write(count int, apply func(to *image, entries int)) error {
	d := h.d
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.stalled != nil && !h.image.orphan {
		end := d.stalled
		d.seen.Stalled++
		d.mu.Unlock()
		<-end
		d.mu.Lock()
	}
	if d.broken != nil && !h.image.orphan {
		d.seen.Refused++
		return d.broken
	}
	if d.tears && count > 0 && !h.image.orphan {
		d.tears = false
		d.seen.Torn++
		apply(h.image, d.random.IntN(count))
		d.mu.Unlock()
		d.fatal("a log write was cut short")
		d.mu.Lock()
	}
	if !h.image.orphan && !d.lies {
		h.sync(count, apply)
	}
	if d.lies && !h.image.orphan {
		d.seen.Unsure += uint64(max(1, count))
	}
	apply(h.image, count)
	return nil
}

// sync takes the time that a sync takes; a crash meanwhile meets a log write on its way.
func (h *handle) sync(count int, apply func(to *image, entries int)) {
	d := h.d
	took := d.syncMin
	if d.syncMax > d.syncMin {
		took += time.Duration(d.random.Int64N(int64(d.syncMax - d.syncMin)))
	}
	if took > syncUsual {
		d.seen.Slowed++
	}
	if count > 0 {
		d.writing = &write{apply, count}
	}
	d.mu.Unlock()
	time.Sleep(took)
	d.mu.Lock()
	if count > 0 && !h.image.orphan {
		d.writing = nil
	}
}

// FirstIndex is raft.LogStore's, as are those up to DeleteRange.
func (h *handle) FirstIndex() (uint64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.image.low, nil
}

// LastIndex returns the last index written, or 0.
func (h *handle) LastIndex() (uint64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.image.top, nil
}

// GetLog reads an entry.
func (h *handle) GetLog(index uint64, into *raft.Log) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	l, ok := h.image.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*into = *l
	return nil
}

// StoreLog writes an entry.
func (h *handle) StoreLog(l *raft.Log) error { return h.StoreLogs([]*raft.Log{l}) }

// StoreLogs writes entries; a crash may keep the first of them only.
func (h *handle) StoreLogs(logs []*raft.Log) error {
	kept := make([]*raft.Log, len(logs)) // the library uses its own again
	for i, l := range logs {
		c := *l
		kept[i] = &c
	}
	return h.write(len(kept), func(to *image, entries int) { to.store(kept[:entries]) })
}

// DeleteRange forgets entries.
func (h *handle) DeleteRange(from, to uint64) error {
	return h.write(0, func(m *image, _ int) { m.deleteRange(from, to) })
}

// Set is raft.StableStore's, as are the following.
func (h *handle) Set(key, value []byte) error {
	name, kept := string(key), bytes.Clone(value)
	return h.vote(func(m *image, _ int) { m.words[name] = kept })
}

// Get returns an error that says not found where there is nothing.
func (h *handle) Get(key []byte) ([]byte, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	v, ok := h.image.words[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return bytes.Clone(v), nil
}

// SetUint64 writes a number.
func (h *handle) SetUint64(key []byte, value uint64) error {
	name := string(key)
	return h.vote(func(m *image, _ int) { m.numbers[name] = value })
}

// GetUint64 reads a number.
func (h *handle) GetUint64(key []byte) (uint64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	v, ok := h.image.numbers[string(key)]
	if !ok {
		return 0, errNotFound
	}
	return v, nil
}

// vote writes a term or a vote. The Raft library panics when it cannot save its term: that is the end of a process,
// and here, where all nodes share one, of a node. A full disk still has room for these few bytes.
func (h *handle) vote(apply func(to *image, entries int)) error {
	err := h.write(0, apply)
	if e := (*writeError)(nil); !errors.As(err, &e) {
		return err
	} else if e.number != bad().(*writeError).number {
		h.d.mu.Lock()
		defer h.d.mu.Unlock()
		apply(h.image, 0)
		return nil
	}
	h.d.fatal("a term could not be written")
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	apply(h.image, 0) // to an orphan
	return nil
}

// snapshots is the snapshots of a disk that a process has open: the newest one.
type snapshots struct{ h *handle }

// Create starts a snapshot, which nobody sees before its Close.
func (s snapshots) Create(version raft.SnapshotVersion, index, term uint64, members raft.Configuration,
	membersIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sink{h: s.h, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: members, ConfigurationIndex: membersIndex,
	}}, nil
}

// List returns the newest snapshot, if there is one.
func (s snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.h.d.mu.Lock()
	defer s.h.d.mu.Unlock()
	if s.h.image.snapshot == nil {
		return nil, nil
	}
	meta := s.h.image.snapshot.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open reads the snapshot that List returned, unless a newer one has taken its place.
func (s snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.h.d.mu.Lock()
	defer s.h.d.mu.Unlock()
	kept := s.h.image.snapshot
	if kept == nil || kept.meta.ID != id {
		return nil, nil, fmt.Errorf("open snapshot %s: not kept", id)
	}
	meta := kept.meta
	return &meta, io.NopCloser(bytes.NewReader(kept.content)), nil
}

// sink collects a snapshot.
type sink struct {
	bytes.Buffer
	h    *handle
	meta raft.SnapshotMeta
}

// ID returns what Open takes.
func (s *sink) ID() string { return s.meta.ID }

// Close writes the snapshot, whole or not at all.
func (s *sink) Close() error {
	s.meta.Size = int64(s.Len())
	kept := &snapshot{meta: s.meta, content: s.Bytes()}
	return s.h.write(0, func(m *image, _ int) {
		m.snapshot = kept
		s.h.d.seen.Taken++
	})
}

// Cancel drops the snapshot.
func (s *sink) Cancel() error { return nil }
