package policy

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

const sweepPause = time.Second // between full sweeps at the bound

// reservation is what a RESERVE took and what became of it. Only who holds turn touches what is below it.
type reservation struct {
	id      string
	domain  *Domain
	account Account
	limits  []*limit
	row     *price // prices what spills, nil when nothing may
	turn    chan struct{}

	takes   []limiter.Take // parallel to limits, as the RESERVE left them
	charged amounts        // units in all
	spilled amounts        // of them, those that credit has to pay
	debits  []debit        // oldest first
	draws   int            // ledger commands done, which number the next
	ended   bool
	last    [32]byte // contents of the final settlement
	answer  Settled

	expires time.Time // guarded by reservations.mu
}

func newReservation(id ulid.ULID, p *plan, r *Request) *reservation {
	row, _ := p.domain.price(r.Attributes)
	account := p.account
	account.ID, account.Payer = strings.Clone(account.ID), strings.Clone(account.Payer) // the request's are of a longer text
	res := &reservation{
		id: reservationID(account.Partition, id.String()), domain: p.domain, account: account, row: row,
		limits: slices.Clone(p.limits), takes: slices.Clone(p.takes), turn: make(chan struct{}, 1),
		charged: p.cost, spilled: p.spent.units,
	}
	if p.spent.debit.key != "" {
		res.debits = []debit{p.spent.debit}
	}
	return res
}

// reservationID names the partition, so that whoever gets it back finds the home.
func reservationID(partition uint16, id string) string {
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

// reservations are those of the accounts whose home this node is. One that nobody settles ends at its deadline and
// keeps its estimate charged. At the bound, ended ones are swept; live ones are never dropped, no further is made.
type reservations struct {
	most int

	mu      sync.Mutex // guards what follows
	byID    map[string]*reservation
	claimed int // places promised to checks that are being decided
	swept   time.Time
}

// claim promises a place, which open or release gives up.
func (h *reservations) claim(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.byID)+h.claimed >= h.most && now.Sub(h.swept) >= sweepPause {
		h.sweepLocked(now)
	}
	if len(h.byID)+h.claimed >= h.most {
		return false
	}
	h.claimed++
	return true
}

func (h *reservations) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claimed--
}

func (h *reservations) open(r *reservation, expires time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claimed--
	r.expires = expires
	h.byID[r.id] = r
	return r.id
}

// find returns a reservation that has not ended, or ended so lately that its answer is still known.
func (h *reservations) find(id string, now time.Time) (*reservation, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byID[id]
	if r == nil || !now.Before(r.expires) {
		return nil, fmt.Errorf("%w: %q", ErrNoReservation, short(id))
	}
	return r, nil
}

// extend moves the deadline to no earlier than at and returns how long is left until it.
func (h *reservations) extend(r *reservation, now, at time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at.After(r.expires) {
		r.expires = at
	}
	return r.expires.Sub(now)
}

// sweep forgets what ended.
func (h *reservations) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweepLocked(now)
}

func (h *reservations) sweepLocked(now time.Time) {
	h.swept = now
	for id, r := range h.byID {
		if !now.Before(r.expires) {
			delete(h.byID, id)
		}
	}
}
