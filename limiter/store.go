package limiter

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// partitions is ring.Partitions; limiter imports nothing of ours.
const partitions = 4096

const (
	// sweepEvery is how many operations of a partition pay for sweeping a page of another one, which may be idle.
	sweepEvery = 32
	// reclaimSteps bounds the pages that one operation looks at when the store is at its bound.
	reclaimSteps = 512
)

// Config bounds a Store.
type Config struct {
	BucketsMax int64 // buckets over all partitions, about 60 bytes each
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
	bucketsMax int64
	buckets    atomic.Int64
	hand       atomic.Uint32 // the partition of which a page is swept next
	partitions [partitions]partition
}

type partition struct {
	mu        sync.Mutex // guards all below
	ops       uint32
	cold      bool
	coldSince int64
	seen      int64 // the largest now of any operation
	table     table
	_         [56]byte // two cache lines each: neighbours' locks do not slow each other
}

// NewStore returns an empty store. The config must be valid.
func NewStore(c Config) *Store { return &Store{bucketsMax: c.BucketsMax} }

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

func (s *Store) check(p uint16, now int64, takes []Take, commit bool) (Outcome, Shortfall) {
	o, short, tick := s.tryCheck(p, now, takes, commit)
	if o == Full && s.reclaim(p, now, len(takes)) {
		o, short, _ = s.tryCheck(p, now, takes, commit)
	}
	if tick {
		s.sweepNext(now)
	}
	return o, short
}

func (s *Store) tryCheck(p uint16, asked int64, takes []Take, commit bool) (o Outcome, short Shortfall, tick bool) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	now := max(asked, pt.seen)
	for i := range takes {
		pt.load(&takes[i], now)
	}
	o, short = weigh(now, takes)
	added := news(takes)
	if added > 0 && !s.reserve(added) {
		o, short, added = Full, Shortfall{}, 0
		giveUp(takes)
	}
	if !commit {
		s.buckets.Add(-added)
	}
	for i := range takes {
		after := reply(now, asked, takes, i)
		if commit && takes[i].Taken > 0 {
			pt.put(takes[i].Key, after)
		}
	}
	if !commit {
		return o, short, false
	}
	pt.seen = now
	if added > 0 {
		s.buckets.Add(-int64(pt.table.sweep(now)))
	}
	pt.ops++
	return o, short, pt.ops%sweepEvery == 0
}

// load fills in the present bucket of the take.
func (pt *partition) load(t *Take, now int64) {
	b := pt.table.find(t.Key)
	t.miss = b == nil
	switch {
	case b != nil:
		t.was = t.Limit.present(*b, now)
	case pt.cold:
		t.was = t.Limit.present(t.Limit.drained(pt.coldSince), now)
	default:
		t.was = t.Limit.present(missing(), now)
	}
}

func (pt *partition) put(k Key, b bucket) {
	if held := pt.table.find(k); held != nil {
		*held = b
		return
	}
	pt.table.insert(k, b)
}

// Return gives back what was Taken and zeroes it; the takes are those that Take or Charge answered, on the same partition. A
// fixed window gets it back only while the same window runs; a token bucket is never fuller than its capacity.
// If no time has passed, every later decision is as if nothing had been taken.
func (s *Store) Return(p uint16, now int64, takes []Take) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(now, pt.seen)
	for i := range takes {
		t := &takes[i]
		b := pt.table.find(t.Key)
		if b != nil && t.Taken > 0 && (t.Limit.Algorithm != FixedWindow || b.expires == t.was.expires) {
			*b = t.Limit.without(t.Limit.present(*b, pt.seen), t.Taken)
		}
		t.Taken = 0
	}
}

// Charge takes every cost, past the limits too: what exceeds them is a debt that is earned back first. It sets Taken,
// Remaining and Reset. Taken is below Cost only where a debt would exceed 146 years or 2^63 units, at a limit that admits
// nothing, and 0 where the bucket is new and the store at its bound.
func (s *Store) Charge(p uint16, now int64, takes []Take) {
	giveUp(takes)
	if s.tryCharge(p, now, takes) && s.reclaim(p, now, len(takes)) {
		s.tryCharge(p, now, takes)
	}
}

// tryCharge charges what is not charged yet, and says whether the store had no room for some of it.
func (s *Store) tryCharge(p uint16, asked int64, takes []Take) (full bool) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(asked, pt.seen)
	for i := range takes {
		t := &takes[i]
		if t.Taken > 0 {
			continue
		}
		pt.load(t, pt.seen)
		t.Refused, t.Taken = false, min(max(0, t.Cost), t.Limit.chargeable(t.was, pt.seen))
		if t.Taken > 0 && t.miss && !s.reserve(1) {
			full, t.Taken = true, 0
		}
		if after := reply(pt.seen, asked, takes[i:i+1], 0); t.Taken > 0 {
			pt.put(t.Key, after)
		}
	}
	return full
}

// Cold says that the partition lost its state at since, Unix nanoseconds: a token bucket that is missing then owes what
// it cannot have earned since, so that nobody gets a second burst; windows start fresh. Buckets in the store are kept.
func (s *Store) Cold(p uint16, since int64) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.cold, pt.coldSince = true, since
}

// Drop forgets the partition: its buckets, that it was cold, and its time.
func (s *Store) Drop(p uint16) {
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	s.buckets.Add(-int64(pt.table.len))
	pt.table, pt.cold, pt.coldSince, pt.seen = table{}, false, 0, 0
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
	pt := &s.partitions[p]
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = max(now, pt.seen)
	dead := pt.table.sweep(pt.seen)
	s.buckets.Add(-int64(dead))
	return dead
}
