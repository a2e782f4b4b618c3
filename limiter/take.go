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

// Take is what one limit is asked for, and its answer. The caller sets the first six fields and keeps the value from Take to
// Return; the store sets the others. Takes of one call may share a Key if they are of one limit, so that all but Cost is
// equal: they add up.
type Take struct {
	Key   Key
	Limit *Limit
	Cost  int64 // units of the meter; nothing is taken for 0 or less
	Meter uint8 // index of the meter within the request, below MetersMax
	Whole bool  // the meter is never split between limit and credit
	Spill bool  // credit may buy past this limit; without it, the limit is a guard

	Taken     int64 // units taken, what Return gives back
	Refused   bool  // this limit alone did not admit Cost
	Remaining int64 // units available after the operation, rounded down, never negative
	// Wait is how long until a refused Cost is admitted if nobody else takes: exact, rounded up to a nanosecond; or Never.
	// It is 0 if this limit admits the cost.
	Wait time.Duration
	// Reset is how long until the bucket is untouched again.
	Reset time.Duration

	was  bucket // the present bucket before the operation
	miss bool   // the store did not hold it
}

// Outcome is the answer to all takes of one call together.
type Outcome uint8

const (
	// Refused : a guard does not admit its cost; nothing was taken.
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
func weigh(now int64, takes []Take) (o Outcome, short Shortfall) {
	refused, spilled := false, false
	for i := range takes {
		t := &takes[i]
		left := max(0, t.Limit.available(t.was, now)-takenOf(t.Key, takes[:i]))
		t.Taken, t.Refused = max(0, t.Cost), t.Cost > left
		switch {
		case !t.Refused:
			continue
		case !t.Spill:
			refused = true
			continue
		case t.Whole:
			left = 0
		}
		spilled = true
		t.Taken = left
		short[t.Meter] = max(short[t.Meter], t.Cost-left)
	}
	switch {
	case refused:
		giveUp(takes)
		return Refused, Shortfall{}
	case !spilled:
		return Taken, short
	}
	for i := range takes {
		// At most what the limit had: short is at least this take's own.
		if t := &takes[i]; t.Spill {
			t.Taken = max(0, t.Cost-short[t.Meter])
		}
	}
	return Spilled, short
}

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

// news counts the buckets that the takes will add to the store.
func news(takes []Take) (n int64) {
	for i := range takes {
		if t := &takes[i]; t.miss && t.Taken > 0 && takenOf(t.Key, takes[:i]) == 0 {
			n++
		}
	}
	return n
}

// reply sets what is left after the takes, and returns the i-th's bucket. now is the partition's time; asked, the caller's,
// is what waits count from: after a clock jumped back they last until it has caught up, and longer.
func reply(now, asked int64, takes []Take, i int) bucket {
	t := &takes[i]
	b := t.Limit.after(t.was, takenOf(t.Key, takes))
	t.Remaining = t.Limit.available(b, now)
	t.Wait, t.Reset = 0, 0
	if !t.Limit.untouched(b, now) {
		t.Reset = until(b.expires, asked)
	}
	if !t.Refused {
		return b
	}
	need := t.Cost
	for j := range i { // asked again, those before it come first again
		if takes[j].Key == t.Key {
			need = addUnits(need, takes[j].Cost)
		}
	}
	t.Wait = Never
	if at, ever := t.Limit.opens(b, need); ever {
		t.Wait = until(at, asked)
	}
	return b
}

// addUnits adds amounts, a negative one as nothing, and stays at the greatest when the sum is above it.
func addUnits(a, b int64) int64 {
	return a + min(max(0, b), math.MaxInt64-a)
}
