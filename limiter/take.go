package limiter

import (
	"math"
	"strconv"
	"time"
)

// MetersMax bounds the meters of one request.
const MetersMax = 16

// Never is the Wait for a cost above the limit's capacity.
const Never time.Duration = -1

// Take is what one limit is asked for, and its answer. The caller sets the fields down to Slot and keeps the value from Take to
// Return; the store sets the others. Takes of one call may share a Key if they are of one limit, so that all but Cost is
// equal: they add up. Not of a Concurrency limit, though: it answers them right one by one only.
type Take struct {
	Key   Key
	Limit *Limit
	Cost  int64 // units of the meter; nothing is taken for 0 or less
	Meter uint8 // index of the meter within the request, below MetersMax
	Whole bool  // the meter is never split between limit and credit
	Spill bool  // credit may buy past this limit; without it, the limit is a guard
	// Charge takes Cost as a debt even when the request is refused, by this limit or another (on_deny: charge). Such a
	// limit refuses when what was taken and Cost are more than the limit; so it refuses a Cost of 0, a look, in debt only. Slots are never
	// taken so: nobody would release them.
	Charge bool
	// Shadow lets the limit refuse nothing: Refused says what it would have done, and then it takes nothing, unless Charge.
	Shadow bool
	// Slot is whose slot of a Concurrency limit this is. Taking a slot that is held renews it and takes only what Cost is
	// above it. The zero Slot is nobody's: always a new one, which none can renew or release.
	Slot Key

	Taken     int64 // units taken, what Return gives back
	Refused   bool  // this limit alone did not admit Cost, a guard or not; Taken tells what it took nevertheless
	Remaining int64 // units available after the operation, rounded down, never negative
	// Wait is how long until Cost is admitted if nobody else takes: exact, rounded up to a nanosecond; or Never. It is 0 if
	// this limit admitted the cost, and it was not charged for a request that another one refused. A Concurrency limit may
	// admit it earlier, as soon as slots are released.
	Wait time.Duration
	// Reset is how long until the bucket is untouched again.
	Reset time.Duration

	was   bucket // the present bucket before the operation
	spare int64  // units left in it, negative when it was in debt
	need  int64  // Cost, less what the slot has already
	ends  int64  // when what a log or a slot took ends
	held  *entry // a token bucket's; good while the table does not change
	miss  bool   // the table did not hold it
	// ahead : the table holds it as a later window's, of a node whose clock is ahead or of a longer Period.
	ahead bool
}

// Outcome is the answer to all takes of one call together.
type Outcome uint8

const (
	// Refused : a guard does not admit its cost; nothing was taken but by takes that Charge.
	Refused Outcome = iota
	// Taken : every limit took its cost.
	Taken
	// Spilled : the guards took their cost, the spill limits what they had; the Shortfall is left to credit.
	Spilled
	// Full : the store is at its bound and has no room for a bucket that would be new; nothing was taken.
	Full
)

// String returns the outcome as it is written in logs.
func (o Outcome) String() string {
	switch o {
	case Refused:
		return "refused"
	case Taken:
		return "taken"
	case Spilled:
		return "spilled"
	case Full:
		return "full"
	}
	return "outcome(" + strconv.Itoa(int(o)) + ")"
}

// Shortfall is, by meter, the units that the spill limits do not cover: the largest over the meter's limits. It is all zero
// unless the outcome is Spilled.
type Shortfall [MetersMax]int64

// weigh decides over takes whose buckets are loaded, and sets Taken and Refused. Units are exact, so those of takes that
// share a bucket simply add up.
func weigh(now int64, takes []Take, short *Shortfall) Outcome {
	refused, spilled := false, false
	for i := range takes {
		t := &takes[i]
		left := t.spare - takenOf(t.Key, takes[:i])
		if !t.charges() {
			left = max(0, left)
		}
		t.Taken, t.Refused = t.need, t.need > left
		switch {
		case !t.Refused:
			continue
		case t.Shadow:
			t.Taken = t.debt(now, takes[:i])
			continue
		case !t.Spill:
			refused = true
			continue
		case t.Whole:
			left = 0
		}
		left = max(0, left)
		spilled = spilled || t.need > left
		t.Taken = left
		short[t.Meter] = max(short[t.Meter], t.need-left)
	}
	switch {
	case refused:
		for i := range takes {
			takes[i].Taken = takes[i].debt(now, takes[:i])
		}
		*short = Shortfall{}
		return Refused
	case !spilled:
		return Taken
	}
	for i := range takes {
		// At most what the limit had: short is at least this take's own.
		if t := &takes[i]; t.Spill && !t.Shadow {
			t.Taken = max(0, t.need-short[t.Meter])
		}
	}
	return Spilled
}

// debt is what the take takes of a refused request; before are the takes of the request before it.
func (t *Take) debt(now int64, before []Take) int64 {
	if !t.charges() {
		return 0
	}
	return max(0, min(t.need, t.Limit.chargeable(t.was, now)-takenOf(t.Key, before)))
}

func (t *Take) charges() bool { return t.Charge && t.Limit.Algorithm != Concurrency }

func giveUp(takes []Take) {
	for i := range takes {
		takes[i].Taken = 0
	}
}

func takenOf(k Key, takes []Take) (units int64) {
	for i := range takes {
		if takes[i].Key == k {
			units = addUnits(units, takes[i].Taken)
		}
	}
	return units
}

// news bounds the entries and runs that the takes will add to the store.
func news(takes []Take) (n int64) {
	for i := range takes {
		t := &takes[i]
		switch k := t.Limit.kind(); {
		case k == runs && (t.Taken > 0 || t.renews()):
			n++
			if t.miss {
				n += 3 // an entry, a head, and what a cold limit supposes
			}
		case t.miss && t.Taken > 0 && takenOf(t.Key, takes[:i]) == 0:
			if n++; t.Limit.Algorithm == SlidingWindow {
				n++
			}
		}
	}
	return n
}

// renews says whether the take lets a slot that is held end later, if it is not refused.
func (t *Take) renews() bool {
	return t.Limit.Algorithm == Concurrency && t.was.prev > 0 && t.Cost > 0
}

// lasts says whether the outcome leaves units of the take in a log, or a slot, until they end.
func (t *Take) lasts(o Outcome) bool {
	return t.Taken > 0 || t.renews() && (o == Taken || o == Spilled)
}

// addUnits adds amounts, a negative one as nothing, and stays at the greatest when the sum is above it.
func addUnits(a, b int64) int64 {
	return a + min(max(0, b), math.MaxInt64-a)
}
