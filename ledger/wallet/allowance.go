package wallet

import (
	"time"

	"github.com/weir-cluster/weir/ledger"
)

// allowance is credit that the ledger lent. It is guarded by its purse's lock. amount = left + spent, and
// spent is the sum of all its items.
type allowance struct {
	id       uint64
	home     string // to which it was lent
	purse    *purse
	slices   []slice // in burn order
	amount   ledger.Credits
	left     ledger.Credits
	spent    ledger.Credits
	life     time.Duration
	deadline time.Time // no draw from then on: life after it was asked for

	items    []item         // after the first ones, which are forgotten
	first    uint64         // how many those are
	acked    int            // of items: the ledger has them
	sent     uint64         // how many of its items were in a report, which may have come
	unacked  ledger.Credits // what was drawn in the items after those
	lastDraw time.Time

	resting bool // no draws any more
	urgent  bool // it is to be given back without delay
	frozen  bool // a report that it is over was made: it may have come
	over    bool // and was confirmed, or the allowance is lost
	sending bool // a report is under way
	queued  bool // it is in Wallet.reports
	past    bool // it is of an earlier life
	plain   bool // the ledger has no room for keys that need not be
	due     time.Time
	heard   chan struct{} // closed at the next answer, and replaced
	logged  uint64        // the seq of its record in the spend log, below which the log is not needed for it
}

// slice is what an allowance has of one grant, as the ledger keeps it too.
type slice struct {
	kind              ledger.Kind
	grant             string
	held, spent, bare ledger.Credits // bare: of spent, of items that are not keyed, which alone can be undone
}

// item is a draw, or a draw undone.
type item struct {
	ledger.Item
	at     time.Time
	undone ledger.Credits // of it
	marked bool           // reported as if it were Keyed, since it may have to be returned when the allowance is gone
	kept   bool           // in the spend log. Only then it may be reported, so that a report never has more than the log
}

func newAllowance(p *purse, home string, id uint64) *allowance {
	return &allowance{id: id, home: home, purse: p, heard: make(chan struct{})}
}

// pays tells whether a draw may be made from it now.
func (a *allowance) pays(amount ledger.Credits, now time.Time, c *Config) bool {
	return !a.resting && now.Before(a.deadline) && amount <= a.left && a.unacked+amount <= c.Unreported && len(a.items)-a.acked < c.Items
}

// take draws an amount that it pays, from its slices in order, and returns what came from each. It goes by the rule by which the
// ledger charges the items, so that both find the same grants.
func (a *allowance) take(amount ledger.Credits, keyed bool) []ledger.Part {
	parts := make([]ledger.Part, 0, 1)
	rest := amount
	for i := range a.slices {
		s := &a.slices[i]
		x := min(s.held, rest)
		if x == 0 {
			continue
		}
		s.held, s.spent, rest = s.held-x, s.spent+x, rest-x
		if !keyed {
			s.bare += x
		}
		parts = append(parts, ledger.Part{Kind: s.kind, Grant: s.grant, Amount: x})
		if rest == 0 {
			break
		}
	}
	a.left, a.spent, a.unacked = a.left-amount, a.spent+amount, a.unacked+amount
	return parts
}

// undo puts an amount back that loose draws took, last taken first.
func (a *allowance) undo(amount ledger.Credits) []ledger.Part {
	var parts []ledger.Part
	rest := amount
	for i := len(a.slices) - 1; i >= 0 && rest > 0; i-- {
		s := &a.slices[i]
		if x := min(s.bare, rest); x > 0 {
			s.held, s.spent, s.bare, rest = s.held+x, s.spent-x, s.bare-x, rest-x
			parts = append(parts, ledger.Part{Kind: s.kind, Grant: s.grant, Amount: x})
		}
	}
	a.left, a.spent = a.left+amount, a.spent-amount
	return parts
}

// add appends an item and returns its number in the allowance.
func (a *allowance) add(it item) uint64 {
	a.items = append(a.items, it)
	return a.first + uint64(len(a.items)) - 1
}

// item returns one by its number, nil if it is forgotten.
func (a *allowance) item(n uint64) *item {
	if n < a.first || n-a.first >= uint64(len(a.items)) {
		return nil
	}
	return &a.items[n-a.first]
}

// rest ends the draws.
func (a *allowance) rest(urgent bool) {
	a.resting = true
	a.urgent = a.urgent || urgent
}

// ripe tells whether what is left should go back with the next report. Without hurry it waits a little, for the last draws may
// still be undone.
func (a *allowance) ripe(now time.Time) bool {
	return a.resting && (a.urgent || now.Sub(a.lastDraw) >= undoFor)
}

// undoFor is how long a loose draw can be returned.
const undoFor = 5 * time.Second

// trim forgets the items that the ledger has and that cannot be undone any more, or are more than that; not until they are half
// of all, so that each is copied once.
func (a *allowance) trim(now time.Time, most int) {
	n := 0
	for n < a.acked && (now.Sub(a.items[n].at) >= undoFor || a.acked-n > most) {
		n++
	}
	if 2*n < len(a.items) || n == 0 {
		return
	}
	for i := range a.items[:n] {
		if it := &a.items[i]; it.Keyed {
			delete(a.purse.keyed, it.ID)
		}
	}
	rest := copy(a.items, a.items[n:])
	clear(a.items[rest:])
	a.items = a.items[:rest]
	a.first, a.acked = a.first+uint64(n), a.acked-n
}

// ack notes that the ledger has so many items in all.
func (a *allowance) ack(items uint64) {
	if items < a.first {
		return
	}
	acked := int(min(items-a.first, uint64(len(a.items))))
	for ; a.acked < acked; a.acked++ {
		if x := a.items[a.acked].Amount; x > 0 {
			a.unacked -= x
		}
	}
}

// tell wakes those who wait for an answer about it.
func (a *allowance) tell() {
	close(a.heard)
	a.heard = make(chan struct{})
}
