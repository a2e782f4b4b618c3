// Package journal keeps a sequence of records in segment files: numbered by one more each, checksummed, appended by one
// writer, read by any number beside it, and dropped from the old end. A crash costs at most the newest records that were not
// synced; whatever else is lost shows as a gap, which can be filled from elsewhere. It knows nothing of what a record says.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a journal, in bytes and files.
const (
	RecordMax   = 1 << 20 // of a record
	segmentMax  = 1 << 30 // of Config.SegmentBytes: offsets are kept in 32 bits
	segmentsMax = 1024    // of a full journal: each is an open file
)

// flushWithin is how long a record may wait for the file, and a waiting reader for the record.
const flushWithin = 20 * time.Millisecond

// Config says how much a journal keeps. Start from DefaultConfig.
type Config struct {
	// SegmentBytes is where a segment ends and the next one begins; what is dropped is dropped by whole segments.
	SegmentBytes int64
	// RetainBytes is how much may be kept, two segments at least: beyond it the oldest one goes, whoever still needs it.
	RetainBytes int64
	// RetainFor is how long a record is kept at least, if RetainBytes lets it.
	RetainFor time.Duration
	// Floor returns the lowest seq that a consumer still needs: from there on nothing is dropped for its age. Nil: nobody
	// needs any. Run calls it, without a lock.
	Floor func() uint64
	// Now is the wall clock, by which ages are told.
	Now func() time.Time
	// Logger hears of what was cut, set aside and dropped. Nil: nobody does.
	Logger *slog.Logger
	// Files holds the segments. Nil: Open takes the folder, NewMemory the memory.
	Files Files
	// ReadOnly opens a journal as it is: nothing is repaired, appended or dropped.
	ReadOnly bool
}

// DefaultConfig keeps 30 days in at most 10 GiB. Now must still be set.
func DefaultConfig() Config {
	return Config{SegmentBytes: 64 << 20, RetainBytes: 10 << 30, RetainFor: 30 * 24 * time.Hour}
}

// Validate checks that the bounds fit together and that there is a clock.
func (c Config) Validate() error {
	switch {
	case c.SegmentBytes < headerBytes+frameBytes+1 || c.SegmentBytes > segmentMax:
		return fmt.Errorf("%w: segments of %d bytes, at most %d", ErrInvalid, c.SegmentBytes, segmentMax)
	case c.RetainBytes < 2*c.SegmentBytes:
		return fmt.Errorf("%w: %d bytes are retained, less than two segments of %d", ErrInvalid, c.RetainBytes, c.SegmentBytes)
	case c.RetainBytes/c.SegmentBytes > segmentsMax:
		return fmt.Errorf("%w: %d bytes in segments of %d: more than %d files", ErrInvalid, c.RetainBytes, c.SegmentBytes, segmentsMax)
	case c.RetainFor < 0:
		return fmt.Errorf("%w: records are retained for %s", ErrInvalid, c.RetainFor)
	case c.Now == nil:
		return fmt.Errorf("%w: no clock", ErrInvalid)
	}
	return nil
}

// Journal is a sequence of records. Append is for one goroutine at a time, and waits for Flush and Sync of others no longer
// than it takes to write a buffer; everything else may be called from any goroutine.
type Journal struct {
	config Config
	files  Files
	log    *slog.Logger
	counts counts

	// writing is held by whoever changes files, also while it writes to one. Readers never take it.
	writing  sync.Mutex
	filling  *segment // the one that a gap is being filled with; nil: none
	repeated span     // that Append compared last

	mu       sync.RWMutex
	segments []*segment // by first; they do not overlap
	head     *segment   // the last of segments if it can still grow, else nil
	newest   uint64     // 0: none ever
	flushed  uint64     // newest at the last flush
	floor    uint64     // what is missing below it is missing for good
	grown    chan struct{}
	fault    error // the first error of a write; nothing is written after it
	closed   bool

	dirty chan struct{} // holds one when the head has something to flush
	full  chan struct{} // holds one when a segment was sealed
}

// counts are those of Stats that only grow.
type counts struct {
	repeats, torn, damaged, retired, forced atomic.Uint64
}

// Stats is the state of a journal in numbers.
type Stats struct {
	Oldest, Newest uint64 // seqs; 0: none
	Segments       int
	Bytes          int64  // in segments, with what is still buffered
	Gaps           int    // ranges that are missing and may be filled
	Missing        uint64 // records in them
	Repeats        uint64 // appends of what was there already
	TornBytes      uint64 // cut off the end after a crash
	Damaged        uint64 // segments found damaged and set aside
	Retired        uint64 // segments dropped
	Forced         uint64 // of them, those that a consumer still needed
	Failed         bool   // nothing is written any more
}

// Open opens the journal in a folder, which it creates if need be, and repairs what a crash left: a torn end is cut. What is
// damaged elsewhere is set aside under another name and shows as a gap. A journal of a newer version is ErrNewer.
func Open(dir string, c Config) (*Journal, error) {
	if c.Files == nil {
		c.Files = Folder(dir)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	j := newJournal(c)
	if err := j.recover(); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

// NewMemory returns an empty journal that lives in memory: the same in all else. It panics if the config does not Validate.
func NewMemory(c Config) *Journal {
	c.Files = Memory()
	j, err := Open("", c)
	if err != nil {
		panic(err)
	}
	return j
}

func newJournal(c Config) *Journal {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Journal{
		config: c, files: c.Files, log: log, floor: 1, grown: make(chan struct{}), dirty: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
}

// Oldest returns the seq of the oldest record that is kept, 0 when there is none. There may be gaps after it.
func (j *Journal) Oldest() uint64 {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.oldest()
}

func (j *Journal) oldest() uint64 {
	for _, s := range j.segments {
		if s.count > 0 {
			return s.first
		}
	}
	return 0
}

// Newest returns the seq of the newest record, 0 when there never was one.
func (j *Journal) Newest() uint64 {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.newest
}

// Stats returns the journal's numbers.
func (j *Journal) Stats() Stats {
	gaps := j.Gaps()
	j.mu.RLock()
	defer j.mu.RUnlock()
	s := Stats{
		Oldest: j.oldest(), Newest: j.newest, Segments: len(j.segments), Gaps: len(gaps), Failed: j.fault != nil,
		Repeats: j.counts.repeats.Load(), TornBytes: j.counts.torn.Load(), Damaged: j.counts.damaged.Load(),
		Retired: j.counts.retired.Load(), Forced: j.counts.forced.Load(),
	}
	for _, g := range gaps {
		s.Missing += g.Last - g.First + 1
	}
	for _, seg := range j.segments {
		s.Bytes += seg.size()
	}
	return s
}

// Close writes and syncs what is buffered and closes the files. Reads and appends then fail with ErrClosed. Call it
// after Run has returned; a second time it does nothing.
func (j *Journal) Close() error {
	err := j.Sync()
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	segments := j.segments
	if !j.closed {
		close(j.grown)
	}
	j.segments, j.head, j.filling, j.closed = nil, nil, nil, true
	j.mu.Unlock()
	for _, s := range segments {
		s.release()
	}
	if errors.Is(err, ErrReadOnly) || errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
