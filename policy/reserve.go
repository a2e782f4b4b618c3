package policy

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

const sweepPause = time.Second // between full sweeps at the bound

// reservation is what a RESERVE took and what became of it. A settlement has the turn, works on a copy of the state, and
// puts that in its place in whole steps.
type reservation struct {
	note    // guarded by Records.mu
	id      string
	ulid    ulid.ULID // of the decision that made it
	domain  *Domain
	account Account
	limits  []*limit
	takes   []limiter.Take // parallel to limits, as the RESERVE left them
	ends    []int64        // when what they took ends, see Records.endOf
	order   []ledger.Kind  // what pays
	row     *price         // prices what spills, nil when nothing may
	turn    chan struct{}
	foreign bool // guarded by turn: another home made it, which may have begun a debit that is not known here

	state // guarded by Records.mu, and changed only by who has the turn
}

// state is what settlements change. It is copied: its slices and what step points to never change.
type state struct {
	revision uint64  // one more with each change
	charged  amounts // units in all
	spilled  amounts // of them, those that credit has to pay
	debits   []debit // oldest first
	draws    int     // ledger debits done, which number the next
	step     *step   // a charge that credit is asked for; nil when there is none
	ended    bool
	last     [32]byte // contents of the final settlement
	answer   Settled
}

// step is use above what is charged, which has to be paid for. It is kept until the ledger has answered, because asked again
// under the same key it must be asked for the same amount.
type step struct {
	more  amounts // units in all
	short amounts // of them, those that the limits do not cover
	cost  ledger.Credits
}

func (rs *Records) newReservation(id ulid.ULID, p *plan, r *Request) *reservation {
	row, _ := p.domain.price(r.Attributes)
	account := p.account
	account.ID, account.Payer = strings.Clone(account.ID), strings.Clone(account.Payer) // the request's are of a longer text
	res := &reservation{
		id: reservationID(account.Partition, id), ulid: id, domain: p.domain, account: account, row: row, order: p.domain.order,
		limits: slices.Clone(p.limits), takes: slices.Clone(p.takes), ends: make([]int64, len(p.takes)), turn: make(chan struct{}, 1),
		state: state{charged: p.cost, spilled: p.spent.units},
	}
	for i := range res.takes {
		t := &res.takes[i]
		t.Spill = p.limits[i].spill // a prompt plan held it back
		res.ends[i] = rs.endOf(t.Limit, p.at.UnixNano())
	}
	if p.spent.debit.key != "" {
		res.debits = []debit{p.spent.debit}
	}
	return res
}

// endOf returns when what is taken at a moment ends, as far as giving it back goes by that: the end of its window, or of
// its run in a log; zero for other limits.
func (rs *Records) endOf(l *limiter.Limit, at int64) int64 {
	switch l.Algorithm {
	case limiter.TokenBucket, limiter.Concurrency:
		return 0
	case limiter.RollingLog:
		return at + int64(l.Period)
	}
	look := [1]limiter.Take{{Limit: l, Cost: 1}}
	rs.blank.Peek(0, at, look[:])
	end := at + int64(look[0].Reset)
	if l.Algorithm == limiter.SlidingWindow {
		end -= int64(l.Period)
	}
	return end
}

// recall has a take know what one knows that was made when what it took would end then.
func (rs *Records) recall(t *limiter.Take, end int64) {
	at := end - 1
	if t.Limit.Algorithm == limiter.RollingLog {
		at = end - int64(t.Limit.Period)
	}
	look := [1]limiter.Take{*t}
	rs.blank.Peek(0, at, look[:])
	*t = look[0]
}

// slotOf is the slot that a decision has of limits on concurrency.
func slotOf(id ulid.ULID) limiter.Key {
	return limiter.Key{Hi: binary.BigEndian.Uint64(id[:8]), Lo: binary.BigEndian.Uint64(id[8:])}
}

// reservationID names the partition, so that whoever gets it back finds the home.
func reservationID(partition uint16, id ulid.ULID) string {
	return fmt.Sprintf("r-%04x-%s", partition, id)
}

// ReservationPartition returns the partition whose home made the reservation, or ErrNoReservation when id cannot be one.
func ReservationPartition(id string) (uint16, error) {
	rest, ok := strings.CutPrefix(id, "r-")
	part, name, cut := strings.Cut(rest, "-")
	var b [2]byte
	if !ok || !cut || len(part) != 4 || len(name) != ulid.EncodedSize {
		return 0, fmt.Errorf("%w: %q is none", ErrNoReservation, short(id))
	}
	if _, err := hex.Decode(b[:], []byte(part)); err != nil || b[0] > 0x0f {
		return 0, fmt.Errorf("%w: %q names no partition", ErrNoReservation, short(id))
	}
	return uint16(b[0])<<8 | uint16(b[1]), nil
}

// claim promises a place for a reservation, which open or release gives up. A reservation that nobody settles ends at its
// deadline and keeps its estimate charged. At the bound, ended ones are swept; live ones are never dropped, no further is made.
func (rs *Records) claim(now time.Time) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !rs.roomLocked(now) {
		return false
	}
	rs.claimed++
	return true
}

func (rs *Records) roomLocked(now time.Time) bool {
	if rs.reserved+rs.claimed >= rs.c.ReservationsMax && now.Sub(rs.swept) >= sweepPause {
		rs.sweepLocked(now)
	}
	return rs.reserved+rs.claimed < rs.c.ReservationsMax
}

func (rs *Records) release() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.claimed--
}

func (rs *Records) open(r *reservation, expires time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.claimed--
	r.until = expires
	rs.put(r)
}

func (rs *Records) cancel(r *reservation) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.drop(r)
}

// find returns a reservation that has not ended, or ended so lately that its answer is still known.
func (rs *Records) find(p uint16, id string, now time.Time) (*reservation, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.shelves[p].reservations[id]
	if r == nil || !now.Before(r.until) {
		return nil, fmt.Errorf("%w: %q", ErrNoReservation, short(id))
	}
	return r, nil
}

// standing returns a copy of the reservation's state.
func (rs *Records) standing(r *reservation) state {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return r.state
}

// keep makes st the reservation's state, moves its deadline to no earlier than at, and returns that. It reports false, and
// changes nothing, for one that is here no more, or that a newer one has replaced.
func (rs *Records) keep(r *reservation, st *state, at time.Time) (until time.Time, kept bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.shelves[r.account.Partition].reservations[r.id] != r {
		return until, false
	}
	st.revision++
	r.state = *st
	if at.After(r.until) {
		r.until = at
	}
	rs.note(r.account.Partition, r)
	return r.until, true
}

// sweep forgets what ended.
func (rs *Records) sweep(now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.sweepLocked(now)
	rs.lapse(now)
}

func (rs *Records) sweepLocked(now time.Time) {
	rs.swept = now
	for i := range rs.shelves {
		for _, r := range rs.shelves[i].reservations {
			if !now.Before(r.until) && len(r.turn) == 0 { // one that is being settled will need its place
				rs.drop(r)
			}
		}
	}
}
