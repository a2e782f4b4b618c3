package policy

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

const (
	// recentFor is how long a check with an id is remembered: who sent it has answered by then.
	recentFor = 2 * time.Second
	// recentMax bounds the checks that are remembered. Beyond it the oldest is forgotten, and what that took stays taken whatever
	// becomes of it: one unit less for its caller, never one more.
	recentMax = 1 << 14
)

// recent is what was taken lately for checks with ids.
type recent struct {
	mu             sync.Mutex // guards what follows
	policy         *Policy    // that all were decided by: the next one forgets them, since they would keep it in memory
	known          map[uint64]*taken
	oldest, newest *taken // all of them, in the order in which they were first asked
	free           *taken // forgotten ones, for their memory
}

// taken is what was taken for a check and what was answered, or that it was cancelled: then what it takes is to be undone.
type taken struct {
	next      *taken
	id        uint64
	at        int64 // when it was asked last, Unix nanoseconds
	cancelled bool
	partition uint16
	takes     []limiter.Take
	undo      ledger.Return // of its debit; zero without one
	booked    string        // its reservation; empty without one
	answer    Decision      // with limits and sources of its own
}

// copyOver makes d an equal decision that shares no limits or sources with this one, in the memory that d has for them.
func (d *Decision) copyOver(to *Decision) {
	limits, sources := append(to.Limits[:0], d.Limits...), append(to.Sources[:0], d.Sources...)
	*to = *d
	to.Limits, to.Sources = limits, sources
}

// vacate returns what was taken and leaves nothing, but for the memory that the next one can use.
func (t *taken) vacate() (was taken) {
	was, t.takes = *t, nil
	*t = taken{next: t.next, id: t.id, at: math.MinInt64, answer: Decision{Limits: t.answer.Limits[:0], Sources: t.answer.Sources[:0]}}
	return was
}

// fades says whether it need not be remembered any more.
func (t *taken) fades(now int64) bool { return t.at <= now-int64(recentFor) }

// find returns what is remembered of a check, nil if nothing is. It is called with the lock.
func (r *recent) find(id uint64, now int64) *taken {
	if t := r.known[id]; t != nil && !t.fades(now) {
		return t
	}
	return nil
}

// add remembers a check that is not yet, and forgets what it need not know any more. It is called with the lock.
func (r *recent) add(id uint64, now int64) *taken {
	for r.oldest != nil && (r.oldest.fades(now) || len(r.known) >= recentMax) {
		t := r.oldest
		r.oldest = t.next
		if r.known[t.id] == t {
			delete(r.known, t.id)
		}
		was := t.vacate()
		t.takes, t.next, r.free = was.takes[:0], r.free, t
	}
	t := r.free
	if t == nil {
		t = new(taken)
	} else {
		r.free = t.next
	}
	t.next, t.id, t.at = nil, id, now
	if r.oldest == nil {
		r.oldest = t
	} else {
		r.newest.next = t
	}
	if r.newest = t; r.known == nil {
		r.known = make(map[uint64]*taken)
	}
	r.known[id] = t
	return t
}

// errCancelled is why nobody decides a check whose sender has answered otherwise.
var errCancelled = errors.New("the check was cancelled")

// again answers a check with an id as it was when it was asked before, and says whether it was: its sender asks another way, or one
// of its ways was slow, so it is charged once. It fails if the check was cancelled.
func (w *Waterfall) again(id uint64, now int64, d *Decision) (bool, error) {
	w.recent.mu.Lock()
	defer w.recent.mu.Unlock()
	t := w.recent.find(id, now)
	switch {
	case t == nil:
		return false, nil
	case t.cancelled:
		return false, fmt.Errorf("%w: %w", ErrUnavailable, errCancelled)
	}
	t.at = now
	t.answer.copyOver(d)
	return true, nil
}

// remember notes what was taken for a check with an id. If it was cancelled meanwhile that is undone; if it was asked again and
// answered, too, and d becomes that answer. A check with an idempotency key is not undone: whoever repeats it hears what it took.
func (w *Waterfall) remember(p *plan, r *Request, d *Decision) {
	if r.Mode == Peek || r.Refund || r.IdempotencyKey != "" || d.Reason == FallbackShare {
		return
	}
	mine := taken{id: r.ID, at: p.at.UnixNano(), partition: p.account.Partition, booked: d.Reservation}
	if paid := p.spent.debit.key; paid != "" {
		mine.undo = ledger.Return{Key: "undo-" + paid, Account: p.account.Payer, Debit: paid}
	}
	if w.recent.settle(&mine, p, d) {
		w.takeBack(mine)
	}
}

// settle remembers what a check took and was answered. If the same check was there first it says that mine is to be undone.
func (r *recent) settle(mine *taken, p *plan, d *Decision) (undo bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.policy != p.policy {
		r.policy, r.free = p.policy, nil
		for t := r.oldest; t != nil; t = t.next {
			if !t.cancelled {
				t.vacate()
			}
		}
	}
	if t := r.find(mine.id, mine.at); t != nil {
		mine.takes = append(mine.takes, p.takes...)
		if !t.cancelled {
			t.answer.copyOver(d)
		}
		return true
	}
	t := r.add(mine.id, mine.at)
	mine.takes, mine.answer = append(t.takes[:0], p.takes...), t.answer
	d.copyOver(&mine.answer)
	*t = *mine
	return false
}

// Cancel undoes what a check with an id has taken, or will have when it comes within two seconds: its sender has answered otherwise.
// It may be called any number of times.
func (w *Waterfall) Cancel(id uint64) {
	if was := w.recent.cancel(id, w.c.Now().UnixNano()); was.id == id {
		w.takeBack(was)
	}
}

// cancel remembers that a check is cancelled and returns what it took, zero if that is nothing.
func (r *recent) cancel(id uint64, now int64) (was taken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.find(id, now)
	if t == nil {
		t = r.add(id, now)
	} else {
		was = t.vacate()
	}
	t.at, t.cancelled = now, true
	return was
}

// takeBack gives back what was taken, to limits only while this node is home. Of a check that was cancelled there is nothing.
func (w *Waterfall) takeBack(t taken) {
	if len(t.takes) > 0 && w.c.Lease.Holds(t.partition) {
		w.c.Limits.Return(t.partition, w.c.Now().UnixNano(), t.takes)
	}
	if t.undo.Key != "" {
		w.undo(t.undo)
	}
	if t.booked != "" {
		if r, err := w.c.Records.find(t.partition, t.booked, w.c.Now()); err == nil {
			w.c.Records.cancel(r)
		}
	}
}
