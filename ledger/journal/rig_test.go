package journal

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// small has segments of a few records, so that every test crosses their edges.
func small(files Files) Config {
	c := DefaultConfig()
	c.SegmentBytes, c.RetainBytes, c.Files = 256, 256<<10, files
	c.Now = (&clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}).Now
	return c
}

// onBoth runs a test on a folder and in memory.
func onBoth(t *testing.T, test func(t *testing.T, files Files)) {
	t.Helper()
	t.Run("folder", func(t *testing.T) { test(t, Folder(t.TempDir())) })
	t.Run("memory", func(t *testing.T) { test(t, Memory()) })
}

func open(t *testing.T, c Config) *Journal {
	t.Helper()
	j, err := Open("test", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// kill leaves a journal as a process that is killed does: what was not flushed is lost.
func kill(j *Journal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		s.release()
	}
	j.segments, j.head, j.filling, j.closed = nil, nil, nil, true
	close(j.grown)
}

func record(seq uint64) []byte {
	return fmt.Appendf(nil, "record %d %s", seq, bytes.Repeat([]byte{'a' + byte(seq%26)}, int(seq*7%40)))
}

// add appends records first to last.
func add(t *testing.T, j *Journal, first, last uint64) {
	t.Helper()
	for seq := first; seq <= last; seq++ {
		if err := j.Append(seq, record(seq)); err != nil {
			t.Fatal(err)
		}
	}
}

// has checks that Read and Scan find records first to last, and no other around them.
func has(t *testing.T, j *Journal, first, last uint64) {
	t.Helper()
	for seq := first; seq <= last; seq++ {
		if got, err := j.Read(seq); err != nil || !bytes.Equal(got, record(seq)) {
			t.Fatalf("record %d: %q, %v", seq, got, err)
		}
	}
	for after := first - 1; after < last; {
		found, err := j.Scan(t.Context(), after, 7, 200)
		if err != nil || len(found) == 0 {
			t.Fatalf("after %d: %d records, %v", after, len(found), err)
		}
		for _, r := range found {
			if after++; !bytes.Equal(r, record(after)) {
				t.Fatalf("scan: record %d is %q", after, r)
			}
		}
	}
	for _, seq := range []uint64{first - 1, last + 1} {
		if _, err := j.Read(seq); !errors.As(err, new(*MissingError)) {
			t.Fatalf("record %d: %v, want it missing", seq, err)
		}
	}
}

// misses checks what Read says of a record that is not there.
func misses(t *testing.T, j *Journal, seq uint64, want error, next uint64) {
	t.Helper()
	_, err := j.Read(seq)
	var missing *MissingError
	if !errors.Is(err, want) || !errors.As(err, &missing) || missing.Next != next {
		t.Errorf("record %d: %v, want %v and %d to be next", seq, err, want, next)
	}
	if _, err := j.Scan(t.Context(), seq-1, 10, 1<<20); seq <= j.Newest() && !errors.Is(err, want) {
		t.Errorf("scan after %d: %v, want %v", seq-1, err, want)
	}
}
