package policy

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

const (
	// recentFor is how long a check with an id is remembered: who sent it has answered by then.
	recentFor = 2 * time.Second
	// recentBits make 16,384 places, for as many checks with ids in two seconds and some luck. When all places are taken a new
	// check gets the place of an older one, and what that took stays taken whatever becomes of it: one unit less for its caller,
	// never one more.
	recentBits = 14
)

// recent is what was taken lately for checks with ids. Each has one place, by its id.
type recent struct {
	mu     sync.Mutex // guards what follows
	policy *Policy    // that all were decided by: the next one forgets them, since they would keep it in memory
	places []taken    // nil before the first
}

// taken is what was taken for a check and what was answered, or that it was cancelled: then what it takes is to be undone.
type taken struct {
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

// vacate returns what was in the place and leaves it empty, but for the memory that the next one can use.
func (t *taken) vacate() (was taken) {
	was, t.takes = *t, nil
	*t = taken{answer: Decision{Limits: t.answer.Limits[:0], Sources: t.answer.Sources[:0]}}
	return was
}

// place returns where a check is remembered, or would be. It is called with the lock.
func (r *recent) place(id uint64) *taken {
	if r.places == nil {
		r.places = make([]taken, 1<<recentBits)
	}
	return &r.places[id*0x9e3779b97f4a7c15>>(64-recentBits)]
}

// has says whether the place is that of a check which is remembered yet.
func (t *taken) has(id uint64, now int64) bool {
	return t.id == id && now-t.at < int64(recentFor)
}

// errCancelled is why nobody decides a check whose sender has answered otherwise.
var errCancelled = errors.New("the check was cancelled")

// again answers a check with an id as it was when it was asked before, and says whether it was: its sender asks another way, or one
// of its ways was slow, so it is charged once. It fails if the check was cancelled.
func (w *Waterfall) again(id uint64, now int64, d *Decision) (bool, error) {
	w.recent.mu.Lock()
	defer w.recent.mu.Unlock()
	t := w.recent.place(id)
	switch {
	case !t.has(id, now):
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

// settle puts what a check took and was answered in its place. If the same check was there first it says that mine is to be undone.
func (r *recent) settle(mine *taken, p *plan, d *Decision) (undo bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.policy != p.policy {
		r.policy = p.policy
		for i := range r.places {
			if o := &r.places[i]; !o.cancelled {
				o.vacate()
			}
		}
	}
	t := r.place(mine.id)
	if t.has(mine.id, mine.at) {
		mine.takes = append(mine.takes, p.takes...)
		if !t.cancelled {
			t.answer.copyOver(d)
		}
		return true
	}
	mine.takes, mine.answer = append(t.takes[:0], p.takes...), t.answer
	d.copyOver(&mine.answer)
	*t = *mine
	return false
}

// Cancel undoes what a check with an id has taken, or will have when it comes within two seconds: its sender has answered otherwise.
// It may be called any number of times.
func (w *Waterfall) Cancel(id uint64) {
	now := w.c.Now().UnixNano()
	w.recent.mu.Lock()
	t := w.recent.place(id)
	was := t.vacate()
	t.id, t.at, t.cancelled = id, now, true
	w.recent.mu.Unlock()
	if !was.has(id, now) {
		return
	}
	w.takeBack(was)
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
