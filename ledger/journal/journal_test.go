package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecordsComeBackInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		if j.Oldest() != 0 || j.Newest() != 0 {
			t.Errorf("empty, but has %d to %d", j.Oldest(), j.Newest())
		}
		add(t, j, 1, 100)
		has(t, j, 1, 100)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Read(1); !errors.Is(err, ErrClosed) {
			t.Errorf("read of a closed journal: %v", err)
		}
		if err := j.Append(101, record(101)); !errors.Is(err, ErrClosed) {
			t.Errorf("append to a closed journal: %v", err)
		}
		j = open(t, small(files))
		has(t, j, 1, 100)
		add(t, j, 101, 150)
		has(t, j, 1, 150)
		if s := j.Stats(); s.Oldest != 1 || s.Newest != 150 || s.Segments < 10 || s.Gaps != 0 || s.TornBytes != 0 || s.Damaged != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A Raft log that is applied again after a restart brings records again.
func TestARepeatedRecordChangesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		add(t, j, 1, 60)
		add(t, j, 20, 60)
		if err := errors.Join(j.Close()); err != nil {
			t.Fatal(err)
		}
		j = open(t, small(files))
		add(t, j, 1, 70)
		add(t, j, 70, 70)
		has(t, j, 1, 70)
		if s := j.Stats(); s.Repeats != 61 {
			t.Errorf("%d repeats, want 61", s.Repeats)
		}
	})
}

func TestAnotherRecordOfTheSameSeqIsRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		add(t, j, 1, 60)
		for _, seq := range []uint64{1, 30, 60} {
			if err := j.Append(seq, record(seq+1)); !errors.Is(err, ErrDiffers) {
				t.Errorf("record %d with other contents: %v", seq, err)
			}
			if err := j.Append(seq, append(record(seq), 'x')); !errors.Is(err, ErrDiffers) {
				t.Errorf("record %d, longer: %v", seq, err)
			}
		}
		add(t, j, 61, 70) // it goes on: it is the caller that is wrong
		has(t, j, 1, 70)
	})
}

func TestBoundsOfRecordsAndConfigs(t *testing.T) {
	j := NewMemory(small(nil))
	for _, c := range []struct {
		seq  uint64
		size int
		ok   bool
	}{{0, 1, false}, {1, 0, false}, {1, RecordMax + 1, false}, {1, RecordMax, true}, {2, 1, true}} {
		if err := j.Append(c.seq, make([]byte, c.size)); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("record %d of %d bytes: %v", c.seq, c.size, err)
		}
	}
	if b, err := j.Read(1); err != nil || len(b) != RecordMax {
		t.Errorf("the largest record: %d bytes, %v", len(b), err)
	}
	for name, spoil := range map[string]func(*Config){
		"tiny segments": func(c *Config) { c.SegmentBytes = 40 },
		"huge segments": func(c *Config) { c.SegmentBytes = 2 << 30 },
		"less retained": func(c *Config) { c.RetainBytes = 2*c.SegmentBytes - 1 },
		"many files":    func(c *Config) { c.RetainBytes = 1025 * c.SegmentBytes },
		"negative age":  func(c *Config) { c.RetainFor = -1 },
		"no clock":      func(c *Config) { c.Now = nil },
	} {
		c := small(Memory())
		spoil(&c)
		if _, err := Open("", c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAScanIsBounded(t *testing.T) {
	j := NewMemory(small(nil))
	add(t, j, 1, 50)
	for _, c := range []struct{ after, records, size, want int }{
		{0, 5, 1 << 20, 5},
		{0, 50, 1 << 20, 50},
		{48, 5, 1 << 20, 2},
		{50, 5, 1 << 20, 0},
		{60, 5, 1 << 20, 0},
		{0, 50, 1, 1},
		{0, 0, 1 << 20, 0},
		{0, 50, len(record(1)) + len(record(2)), 2},
		{0, 50, len(record(1)) + len(record(2)) - 1, 1},
	} {
		if got, err := j.Scan(t.Context(), uint64(c.after), c.records, c.size); err != nil || len(got) != c.want {
			t.Errorf("%+v: %d records, %v", c, len(got), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Scan(ctx, 0, 5, 100); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller went away: %v", err)
	}
}

func TestAWaitingReaderIsToldWithin50ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := small(nil)
		c.Now = time.Now
		j := NewMemory(c)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = j.Run(ctx) })
		for seq := uint64(1); seq < 20; seq++ {
			time.Sleep(time.Duration(seq) * 7 * time.Millisecond)
			all.Go(func() {
				time.Sleep(time.Second)
				add(t, j, seq, seq)
			})
			begun := time.Now()
			brief, end := context.WithTimeout(ctx, 5*time.Second)
			if err := j.Wait(brief, seq-1); err != nil {
				t.Error(err)
			}
			end()
			if took := time.Since(begun) - time.Second; took > 50*time.Millisecond {
				t.Errorf("record %d was told %s after it was appended", seq, took)
			}
		}
		cancel()
		all.Wait()
	})
}

func TestAWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &breaking{Files: Memory()}
		for name, c := range map[string]struct {
			end  func(*Journal, context.CancelFunc)
			want error
		}{
			"caller":  {func(_ *Journal, cancel context.CancelFunc) { cancel() }, context.Canceled},
			"closed":  {func(j *Journal, _ context.CancelFunc) { _ = j.Close() }, ErrClosed},
			"failure": {func(j *Journal, _ context.CancelFunc) { disk.full = true; _ = j.Append(1, record(1)); _ = j.Flush() }, errFull},
		} {
			j := open(t, small(disk))
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				time.Sleep(time.Second)
				c.end(j, cancel)
			}()
			if err := j.Wait(ctx, 0); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
			disk.full = false
		}
	})
}

// Readers see whole records in order while a writer appends, rolls and drops.
func TestReadersBesideAWriter(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		synctest.Test(t, func(t *testing.T) {
			c := small(files)
			c.RetainBytes, c.Now = 8<<10, time.Now
			j := open(t, c)
			const newest = 1000
			ctx, cancel := context.WithCancel(t.Context())
			var run, readers sync.WaitGroup
			run.Go(func() { _ = j.Run(ctx) })
			for range 3 {
				readers.Go(func() {
					for after := uint64(0); after < newest; {
						if err := j.Wait(ctx, after); err != nil {
							t.Error(err)
							return
						}
						found, err := j.Scan(ctx, after, 50, 1<<20)
						if missing := (*MissingError)(nil); errors.As(err, &missing) && errors.Is(err, ErrGone) {
							after = missing.Next - 1
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						for _, r := range found {
							if after++; !bytes.Equal(r, record(after)) {
								t.Errorf("record %d is %q", after, r)
								return
							}
						}
					}
				})
			}
			for seq := uint64(1); seq <= newest; seq++ {
				add(t, j, seq, seq)
				if seq%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			readers.Wait()
			cancel()
			run.Wait()
			j.retire()
			if s := j.Stats(); s.Retired == 0 || s.Bytes > 8<<10+300 {
				t.Errorf("nothing was dropped: %+v", s)
			}
			_ = j.Close()
		})
	})
}

// trial is a journal, and a map of what it should have.
type trial struct {
	*Journal
	model           map[uint64][]byte
	newest, flushed uint64
	loose           []uint64 // filled and not flushed
}

// Random operations against a map, with kills of the process in between.
func TestAgainstAMap(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		rng := rand.New(rand.NewPCG(1, 2))
		x := &trial{Journal: open(t, small(files)), model: map[uint64][]byte{}}
		for step := range 1200 {
			switch n := rng.IntN(100); {
			case n < 70:
				x.put(t, x.newest+1)
			case n < 72:
				x.put(t, x.newest+1+rng.Uint64N(30))
			case n < 80 && x.newest > 0:
				x.put(t, 1+rng.Uint64N(x.newest))
			case n < 90:
				x.fillSome(t, rng)
			case n < 95:
				if err := x.Flush(); err != nil {
					t.Fatal(err)
				}
				x.flushed, x.loose = x.newest, nil
			default:
				kill(x.Journal)
				x.Journal = open(t, small(files))
				x.forget(t)
			}
			if step%150 == 0 {
				agree(t, x.Journal, x.model, x.newest)
			}
		}
		agree(t, x.Journal, x.model, x.newest)
	})
}

func (x *trial) put(t *testing.T, seq uint64) {
	t.Helper()
	if x.model[seq] == nil {
		x.loose = append(x.loose, seq)
	}
	x.model[seq], x.newest = record(seq), max(x.newest, seq)
	add(t, x.Journal, seq, seq)
}

func (x *trial) fillSome(t *testing.T, rng *rand.Rand) {
	t.Helper()
	gaps := x.Gaps()
	if len(gaps) == 0 {
		return
	}
	g := gaps[rng.IntN(len(gaps))]
	first := g.First + rng.Uint64N(g.Last-g.First+1)
	last := first + rng.Uint64N(g.Last-first+1)
	if err := x.Fill(first, records(first, last)); err != nil {
		t.Fatalf("fill %d to %d of %v: %v", first, last, g, err)
	}
	for seq := first; seq <= last; seq++ {
		x.model[seq] = record(seq)
	}
}

// forget takes for lost what was not flushed and is not there.
func (x *trial) forget(t *testing.T) {
	t.Helper()
	newest := x.Newest()
	if newest < x.flushed || newest > x.newest {
		t.Fatalf("newest is %d, flushed was %d of %d", newest, x.flushed, x.newest)
	}
	x.newest = newest
	for _, seq := range x.loose {
		delete(x.model, seq)
		if b, err := x.Read(seq); err == nil {
			x.model[seq] = b
		}
	}
	x.loose = nil
}

func agree(t *testing.T, j *Journal, model map[uint64][]byte, newest uint64) {
	t.Helper()
	if j.Newest() != newest {
		t.Fatalf("newest %d, want %d", j.Newest(), newest)
	}
	var missing []Gap
	for seq := uint64(1); seq <= newest; seq++ {
		got, err := j.Read(seq)
		if want := model[seq]; want != nil {
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("record %d: %q, %v", seq, got, err)
			}
			continue
		}
		if !errors.Is(err, ErrGap) {
			t.Fatalf("record %d: %q, %v, want a gap", seq, got, err)
		}
		if n := len(missing); n > 0 && missing[n-1].Last == seq-1 {
			missing[n-1].Last = seq
		} else {
			missing = append(missing, Gap{seq, seq})
		}
	}
	if got := j.Gaps(); fmt.Sprint(got) != fmt.Sprint(missing) {
		t.Fatalf("gaps %v, want %v", got, missing)
	}
}
