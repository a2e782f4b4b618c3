package group

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// fence watches the writes of the log and of votes. One that has not returned by the deadline takes the server out of the
// group until it has: a leader whose disk stalls would send heartbeats all the same, so that nobody else is elected and
// nothing is ever committed (hashicorp/raft #503, #666). The library goes on waiting for the write meanwhile, so that none
// lands behind its back under a later term.
type fence struct {
	deadline time.Duration
	raise    func(up bool) // called in order, once for each change

	mu      sync.Mutex
	stalled int // writes past the deadline
}

// up says whether a write is past its deadline.
func (f *fence) up() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stalled > 0
}

// write does a write and watches it.
func (f *fence) write(do func() error) error {
	done, late := false, false
	timer := time.AfterFunc(f.deadline, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !done {
			late = true
			f.change(1)
		}
	})
	defer func() {
		timer.Stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if done = true; late {
			f.change(-1)
		}
	}()
	return do()
}

func (f *fence) change(by int) {
	was := f.stalled > 0
	f.stalled += by
	if is := f.stalled > 0; is != was {
		f.raise(is)
	}
}

// fencedLog is a log whose writes are watched, and which takes none that the disk has no room for.
type fencedLog struct {
	raft.LogStore
	fence *fence
	room  *room
}

// StoreLog writes an entry.
func (l fencedLog) StoreLog(e *raft.Log) error {
	if err := l.room.takes(e); err != nil {
		return err
	}
	return l.fence.write(func() error { return l.LogStore.StoreLog(e) })
}

// StoreLogs writes entries.
func (l fencedLog) StoreLogs(e []*raft.Log) error {
	if err := l.room.takes(e...); err != nil {
		return err
	}
	return l.fence.write(func() error { return l.LogStore.StoreLogs(e) })
}

// DeleteRange removes entries.
func (l fencedLog) DeleteRange(first, last uint64) error {
	return l.fence.write(func() error { return l.LogStore.DeleteRange(first, last) })
}

// fencedVotes is where terms and votes are kept; its writes are watched.
type fencedVotes struct {
	raft.StableStore
	fence *fence
}

// Set writes a value.
func (s fencedVotes) Set(key, value []byte) error {
	return s.fence.write(func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 writes a number.
func (s fencedVotes) SetUint64(key []byte, value uint64) error {
	return s.fence.write(func() error { return s.StableStore.SetUint64(key, value) })
}
