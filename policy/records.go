package policy

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// RecordsConfig is what Records work with. Policy and Now are needed.
type RecordsConfig struct {
	Policy func() *Policy
	Now    func() time.Time
	// ReservationsMax bounds the reservations, default 100,000; beyond it RESERVE is refused.
	ReservationsMax int
	// KeysMax bounds the idempotency keys, default 100,000. At the bound the decision that would be forgotten next is
	// forgotten; when all are still being decided, a further key gets ErrUnavailable.
	KeysMax int
}

// Records is what a node remembers of accounts beside their buckets: open reservations, which a Waterfall keeps, and the
// first decisions of checks with an idempotency key, which Idempotent keeps. They can follow their partition to another
// node: Changes tells what changed, as absolute values, and Restore takes it in. Any goroutine may call it; no call does I/O
// or waits for a decision or a settlement that is under way.
type Records struct {
	c       RecordsConfig
	changed chan struct{}  // capacity 1
	decided chan struct{}  // closed: the done of what was decided elsewhere
	blank   *limiter.Store // stays empty: what a take knows that was made at any moment is looked up in it

	mu       sync.Mutex // guards what follows
	shelves  [ring.Partitions]shelf
	revision uint64   // one more with each change of a record
	listed   []uint16 // partitions that became due since Due was asked
	reserved int      // reservations
	claimed  int      // places promised to checks that are being decided
	swept    time.Time
	keys     int     // checks with a key, decided or not
	soonest  soonest // the decided ones
}

// shelf has the records of one partition.
type shelf struct {
	reservations map[string]*reservation
	firsts       map[checkKey]*first
	tracked      bool
	listed       bool
	due          []record // what changed and was not taken yet, each once
}

// record is a reservation, or the first decision with a key.
type record interface {
	slip() *note
	append(b []byte, now time.Time) []byte
}

// note is what all records have.
type note struct {
	until time.Time // it ends
	due   bool      // it stands in its shelf's list
}

func (n *note) slip() *note { return n }

// NewRecords returns empty Records. One Waterfall and one Idempotent may share them.
func NewRecords(c RecordsConfig) *Records {
	c.ReservationsMax, c.KeysMax = cmp.Or(max(c.ReservationsMax, 0), 100_000), cmp.Or(max(c.KeysMax, 0), 100_000)
	rs := &Records{
		c: c, changed: make(chan struct{}, 1), decided: make(chan struct{}),
		blank: limiter.NewStore(limiter.DefaultConfig()),
	}
	close(rs.decided)
	return rs
}

// Track has the changes of a partition noted from now on, and counts all that is in it as changed; or no more.
func (rs *Records) Track(p uint16, on bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	for _, r := range s.due {
		r.slip().due = false
	}
	s.tracked, s.due = on, nil
	if !on {
		return
	}
	for _, r := range s.reservations {
		rs.note(p, r)
	}
	for _, f := range s.firsts {
		if f.place > 0 {
			rs.note(p, f)
		}
	}
}

// note follows a change of a record: one of a tracked partition is shipped.
func (rs *Records) note(p uint16, r record) {
	rs.revision++
	s, n := &rs.shelves[p], r.slip()
	if !s.tracked || n.due {
		return
	}
	n.due = true
	if s.due = append(s.due, r); len(s.due) > 1 {
		return
	}
	rs.list(p)
	select {
	case rs.changed <- struct{}{}:
	default:
	}
}

func (rs *Records) list(p uint16) {
	if s := &rs.shelves[p]; !s.listed {
		s.listed = true
		rs.listed = append(rs.listed, p)
	}
}

// Changed signals that a tracked partition has something to ship which had nothing before. It is for one reader.
func (rs *Records) Changed() <-chan struct{} { return rs.changed }

// Due appends the partitions that have something to ship: each once, until its Changes were asked for.
func (rs *Records) Due(dst []uint16) []uint16 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, p := range rs.listed {
		s := &rs.shelves[p]
		if s.listed = false; len(s.due) > 0 {
			dst = append(dst, p)
		}
	}
	rs.listed = rs.listed[:0]
	return dst
}

// Drop forgets a partition: its records, and that it was tracked. Checks that are being decided go on.
func (rs *Records) Drop(p uint16) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	rs.reserved -= len(s.reservations)
	for _, f := range s.firsts {
		if f.place > 0 {
			rs.forget(f)
		}
	}
	s.reservations, s.tracked, s.due = nil, false, nil
}

// drop forgets a reservation.
func (rs *Records) drop(r *reservation) {
	s := &rs.shelves[r.account.Partition]
	if s.reservations[r.id] == r {
		delete(s.reservations, r.id)
		rs.reserved--
	}
}

// put has a reservation on its shelf, in the place of what it had with this id.
func (rs *Records) put(r *reservation) {
	s := &rs.shelves[r.account.Partition]
	if s.reservations == nil {
		s.reservations = make(map[string]*reservation)
	}
	if s.reservations[r.id] == nil {
		rs.reserved++
	}
	s.reservations[r.id] = r
	rs.note(r.account.Partition, r)
}

// add has a first check on its shelf.
func (rs *Records) add(f *first) {
	s := &rs.shelves[f.partition]
	if s.firsts == nil {
		s.firsts = make(map[checkKey]*first)
	}
	s.firsts[f.key] = f
	rs.keys++
}

// forget removes a first check, decided or not.
func (rs *Records) forget(f *first) {
	s := &rs.shelves[f.partition]
	if s.firsts[f.key] == f {
		delete(s.firsts, f.key)
		rs.keys--
		rs.soonest.remove(f)
	}
}

// live reports whether a record has not ended and is still on the shelf.
func (s *shelf) live(r record, now time.Time) bool {
	switch r := r.(type) {
	case *reservation:
		return s.reservations[r.id] == r && now.Before(r.until)
	case *first:
		return s.firsts[r.key] == r && now.Before(r.until)
	}
	return false
}

// Changes returns the next chunk of a tracked partition's records that changed since they were last returned, of about most
// bytes and at least one record, and whether there are more now. A chunk is nil when there is nothing. A settlement that is
// under way is told as it stood before, and anew when it is done.
func (rs *Records) Changes(p uint16, most int) (chunk []byte, more bool) {
	policy, now := rs.c.Policy(), rs.c.Now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := &rs.shelves[p]
	chunk = appendHead(nil, policy)
	taken, told := 0, 0
	for _, r := range s.due {
		if s.live(r, now) {
			with := r.append(chunk, now)
			if told > 0 && len(with) > most {
				break
			}
			chunk, told = with, told+1
		}
		r.slip().due = false
		taken++
	}
	if s.due = slices.Delete(s.due, 0, taken); len(s.due) == 0 {
		s.due = nil
	} else {
		rs.list(p)
	}
	if told == 0 {
		return nil, false
	}
	return chunk, s.due != nil
}
