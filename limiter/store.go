package limiter

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// partitions is ring.Partitions; limiter imports nothing of ours.
const partitions = 4096

const (
	// sweepAdded is how many operations that add buckets to a partition sweep one page of it: the dead that are kept beside
	// the live are about as many as its pages times this. A key that comes again finds its dead bucket, and adds none.
	sweepAdded = 8
	// sweepEvery is how many operations of a partition pay for sweeping a page of another one, which may be idle.
	sweepEvery = 128
	// reclaimSteps bounds the pages that one operation looks at when the store is at its bound.
	reclaimSteps = 512
)

// Config bounds a Store.
type Config struct {
	// BucketsMax bounds the buckets over all partitions: one for a key, two for a sliding window's; a log and a key with slots
	// count as two, and one for each run or slot. A bucket is 27 to 55 bytes (24 in pages that are half to nearly full), a run
	// 40; the first bucket of a partition costs a page, 3 kB.
	BucketsMax int64
}

// DefaultConfig is for a node with 256 MB to spare for buckets.
func DefaultConfig() Config { return Config{BucketsMax: 1 << 22} }

// ErrConfig is wrapped by every error of Config.Validate.
var ErrConfig = errors.New("invalid limiter config")

// Validate returns nil if a Store can work by the config, else an error that wraps ErrConfig.
func (c Config) Validate() error {
	if c.BucketsMax < 1 {
		return fmt.Errorf("%w: buckets max %d is below 1", ErrConfig, c.BucketsMax)
	}
	return nil
}

// Store holds the buckets of every partition in memory, each partition under a lock of its own. Any goroutine may call it;
// no call blocks for longer than a few pages of buckets take.
//
// p is a partition, below 4096. now is Unix nanoseconds, below 2^62. Each partition goes by the largest now it has seen:
// when a clock jumps back, the partition's time stands still until the clock has caught up, so nothing is given twice. A
// jump forward fills the buckets for the time that was skipped, at most one capacity more than true time would give.
//
// The store is bounded: dead buckets, those that say nothing a missing one does not, are swept as operations go by, but a
// live bucket is never dropped for a new one. At the bound a new key is Full, once dead buckets have been looked for.
type Store struct {
	all        atomic.Pointer[[partitions]partition] // nil before the first use: 768 kB that the collector would look into
	bucketsMax int64
	buckets    atomic.Int64
	hand       atomic.Uint32 // the partition of which a page is swept next

	due     [partitions / 64]atomic.Uint64 // a bit for each partition that Due has not told yet
	changed chan struct{}
}

// NewStore returns an empty store. The config must be valid.
func NewStore(c Config) *Store {
	return &Store{bucketsMax: c.BucketsMax, changed: make(chan struct{}, 1)}
}

// at returns a partition. A store that nobody uses has none.
func (s *Store) at(p uint16) *partition {
	all := s.all.Load()
	if all == nil {
		all = s.open()
	}
	return &all[p]
}

func (s *Store) open() *[partitions]partition {
	s.all.CompareAndSwap(nil, new([partitions]partition)) // it is so large that its cache lines begin where it does
	return s.all.Load()
}

// Take takes every cost or, if a guard refuses, none: a refused request burns no quota elsewhere. If only spill limits do
// not admit their cost, they give what they have, but for each meter no more than the one with the least, and the rest is the
// Shortfall; a Whole meter they then give nothing of. Each Take's answer is set in any case.
func (s *Store) Take(p uint16, now int64, takes []Take) (Outcome, Shortfall) {
	return s.check(p, now, takes, true)
}

// Peek sets the answers that Take would give now, with Taken zero, and changes nothing.
func (s *Store) Peek(p uint16, now int64, takes []Take) (Outcome, Shortfall) {
	o, short := s.check(p, now, takes, false)
	giveUp(takes)
	return o, short
}

func (s *Store) check(p uint16, now int64, takes []Take, commit bool) (o Outcome, short Shortfall) {
	o, tick := s.tryCheck(p, now, takes, commit, &short)
	if o == Full && s.reclaim(p, now, len(takes)) {
		o, _ = s.tryCheck(p, now, takes, commit, &short)
	}
	if tick {
		s.sweepNext(now)
	}
	return o, short
}

func (s *Store) tryCheck(p uint16, asked int64, takes []Take, commit bool, short *Shortfall) (o Outcome, tick bool) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	now := max(asked, pt.seen)
	held := true // all buckets: then none is added or removed
	for i := range takes {
		pt.load(&takes[i], now)
		held = held && takes[i].held != nil
	}
	if len(takes) == 1 && held && commit && pt.admits(&takes[0], now, asked) {
		pt.seen = now
		pt.ops++
		return Taken, pt.ops%sweepEvery == 0
	}
	o = weigh(now, takes, short)
	added := news(takes)
	if added > 0 && !s.reserve(added) {
		o, *short, added = Full, Shortfall{}, 0
		giveUp(takes)
	}
	if !commit {
		s.buckets.Add(-added)
		for i := range takes {
			pt.reply(now, asked, takes, i, o)
			takes[i].held = nil
		}
		return o, false
	}
	pt.seen = now
	if held {
		pt.commit(now, asked, takes, o)
	} else {
		size := pt.size()
		pt.commit(now, asked, takes, o)
		if pt.added += uint8(min(added, 1)); pt.added == sweepAdded {
			pt.table.sweep(now, pt.cold)
			pt.added = 0
		}
		s.recount(pt, size+added)
	}
	for i := range takes {
		takes[i].held = nil // it is good under the lock only
	}
	pt.ops++
	return o, pt.ops%sweepEvery == 0
}

// recount corrects the number of buckets, which takes the partition to have counted.
func (s *Store) recount(pt *partition, counted int64) {
	if d := pt.size() - counted; d != 0 {
		s.buckets.Add(d)
	}
}

// Charge takes every cost, past the limits too: what exceeds them is a debt that is earned back first. It sets Taken,
// Remaining and Reset. Taken is below Cost only where a debt would exceed 146 years, 2^48 units of a window or a log, or
// 10,000 slots; at a limit that admits nothing; and 0 where the bucket is new and the store at its bound.
func (s *Store) Charge(p uint16, now int64, takes []Take) {
	giveUp(takes)
	if s.tryCharge(p, now, takes) && s.reclaim(p, now, len(takes)) {
		s.tryCharge(p, now, takes)
	}
}

// tryCharge charges what is not charged yet, and says whether the store had no room for some of it.
func (s *Store) tryCharge(p uint16, asked int64, takes []Take) (full bool) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(asked, pt.seen)
	for i := range takes {
		t := &takes[i]
		if t.Taken > 0 {
			continue
		}
		pt.load(t, pt.seen)
		t.Refused, t.Taken = false, min(t.need, t.Limit.chargeable(t.was, pt.seen))
		added := news(takes[i : i+1])
		if added > 0 && !s.reserve(added) {
			full, t.Taken, added = true, 0, 0
		}
		size := pt.size()
		pt.commit(pt.seen, asked, takes[i:i+1], Taken)
		s.recount(pt, size+added)
		t.held = nil
	}
	return full
}

// Cold says that the partition lost its state at since, Unix nanoseconds: each limit's Cold says what a bucket is that is
// missing then. A token bucket by default owes what it cannot have earned since, so that nobody gets a second burst. What
// is in the store is kept, and the partition has seen since. A bucket that is only supposed can be given nothing back, and
// Reset makes it one again.
func (s *Store) Cold(p uint16, since int64) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.cold, pt.coldSince, pt.seen = true, since, max(since, pt.seen)
	pt.noteAll()
}

// Drop forgets the partition: its buckets, that it was cold or inherited, its time, what was merged into it and restored,
// and that it was tracked.
func (s *Store) Drop(p uint16) {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	s.buckets.Add(-pt.size())
	pt.table, pt.seen, pt.imports = table{}, 0, nil
	pt.cold, pt.coldSince, pt.inherited, pt.inheritedSince = false, 0, false, 0
	s.untrack(p)
}

// Seen returns the largest now of any operation of the partition, 0 if there was none since Drop. A partition that has seen
// nothing new has not changed, but by operations that were told an older now than others before them.
func (s *Store) Seen(p uint16) int64 {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.seen
}

// Len returns how many buckets the store holds, those not swept yet included.
func (s *Store) Len() int64 { return s.buckets.Load() }

// reserve makes room for n new buckets in the count, if the bound allows.
func (s *Store) reserve(n int64) bool {
	if s.buckets.Add(n) <= s.bucketsMax {
		return true
	}
	s.buckets.Add(-n)
	return false
}

// reclaim sweeps until n buckets were freed or reclaimSteps pages were looked at, first of p, then of each partition in
// turn from where the last one stopped, and says whether any was freed.
func (s *Store) reclaim(p uint16, now int64, n int) bool {
	freed := 0
	for step := 0; step < reclaimSteps && freed < n; step++ {
		if step < reclaimSteps/8 {
			freed += s.sweep(p, now)
		} else {
			freed += s.sweepNext(now)
		}
	}
	return freed > 0
}

func (s *Store) sweepNext(now int64) int {
	return s.sweep(uint16(s.hand.Add(1)%partitions), now)
}

// sweep removes what is dead in one page of p. The partition then has seen now: going back would bring the dead to life.
func (s *Store) sweep(p uint16, now int64) int {
	pt := s.at(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(now, pt.seen)
	size := pt.size()
	pt.table.sweep(pt.seen, pt.cold)
	s.recount(pt, size)
	return int(size - pt.size())
}
