package limiter

import (
	"math"
	"math/bits"
	"time"
)

// bucket is the state of one limit for one key as it counts. From the moment it expires it says nothing that a missing one
// does not.
//
//	token bucket      expires and count are the theoretical arrival time as a span: when all that was taken is earned again
//	fixed, calendar   expires is the window's end, count what was taken in it
//	sliding           the same, and prev is what the window before took
//	log, concurrency  count is the sum of the runs that have not ended, expires when the last ends, prev what the slot has
type bucket struct{ expires, count, prev int64 }

// missing is what an unknown key has: a bucket that expired before any time.
func missing() bucket { return bucket{expires: math.MinInt64} }

// present returns what the bucket of a token bucket or of one window says at now. A live bucket under a changed limit
// keeps its debt: the count of a window of another length is carried into the present one.
func (l *Limit) present(b bucket, now int64) bucket {
	if l.Algorithm == TokenBucket {
		if now >= b.expires {
			return bucket{expires: now}
		}
		return b
	}
	end := l.windowEnd(now)
	if now >= b.expires {
		return bucket{expires: end}
	}
	return bucket{expires: end, count: b.count}
}

func (l *Limit) windowEnd(now int64) int64 {
	if l.Algorithm == CalendarWindow {
		return l.Calendar.end(now, l.Zone)
	}
	return windowEnd(now, int64(l.Period))
}

func windowEnd(now, period int64) int64 {
	into := now % period
	if into < 0 {
		into += period
	}
	return now - into + period
}

// left returns the whole units left in a present bucket, negative when it is in debt.
func (l *Limit) left(b bucket, now int64) int64 {
	switch {
	case l.Count == 0:
		return 0
	case l.Algorithm == TokenBucket:
		_, owed := l.units(span{b.expires - now, b.count})
		return l.Burst - owed
	case l.Algorithm == SlidingWindow && b.prev > 0:
		return l.Count - b.count - l.weighed(b.prev, b.expires-now)
	}
	return l.Count - b.count
}

// weighed returns prev * rest / Period, rounded up: what the window before counts with rest of the present one to go.
func (l *Limit) weighed(prev, rest int64) int64 {
	hi, lo := bits.Mul64(uint64(prev), uint64(rest))
	units, part := bits.Div64(hi, lo, uint64(l.Period))
	if part > 0 {
		units++
	}
	return int64(units)
}

// chargeable returns how many units a present bucket can still owe.
func (l *Limit) chargeable(b bucket, now int64) int64 {
	switch {
	case l.Count == 0:
		return 0
	case l.Algorithm == TokenBucket:
		units, _ := l.units(l.minus(span{debtMax, 0}, span{b.expires - now, b.count}))
		return units
	case l.Algorithm == Concurrency:
		return max(0, runsMax-b.count)
	}
	return max(0, unitsMax-b.count)
}

// after returns a present bucket with the units taken, which are left or at least chargeable.
func (l *Limit) after(b bucket, units int64) bucket {
	switch {
	case units == 0:
	case l.Algorithm == TokenBucket:
		s := l.plus(span{b.expires, b.count}, l.span(units))
		b.expires, b.count = s.ns, s.back
	default:
		b.count += units
	}
	return b
}

// without returns a present bucket with the units given back, as far as it owes them; a sliding window's newest first.
func (l *Limit) without(b bucket, units, now int64) bucket {
	if l.Algorithm == TokenBucket {
		if !l.spannable(units) {
			return bucket{expires: now}
		}
		s := l.minus(span{b.expires, b.count}, l.span(units))
		return bucket{expires: s.ns, count: s.back}
	}
	b.prev -= min(b.prev, max(0, units-b.count))
	b.count -= min(b.count, units)
	return b
}

// opens returns the moment from which a present bucket that cannot give the units now can, if nobody takes any; the
// units are within the capacity. Logs and slots are asked for theirs.
func (l *Limit) opens(b bucket, units int64) int64 {
	switch l.Algorithm {
	case TokenBucket:
		beyond := l.minus(l.span(units), l.span(l.Burst)) // never positive, so the sum stays in range
		return l.plus(span{b.expires, b.count}, beyond).ns
	case SlidingWindow:
		if spare := l.Count - units - b.count; spare >= 0 {
			return b.expires - l.fading(b.prev, spare)
		}
		return b.expires + int64(l.Period) - l.fading(b.count, l.Count-units)
	}
	return b.expires
}

// fading returns the greatest rest of a window for which what the one before took counts no more than units.
func (l *Limit) fading(prev, units int64) int64 {
	hi, lo := bits.Mul64(uint64(units), uint64(l.Period))
	if hi >= uint64(prev) {
		return int64(l.Period)
	}
	rest, _ := bits.Div64(hi, lo, uint64(prev))
	return int64(min(rest, uint64(l.Period)))
}

// resets returns the moment from which a present bucket is untouched.
func (l *Limit) resets(b bucket, now int64) int64 {
	switch {
	case l.Algorithm == TokenBucket:
		return b.expires
	case b.count > 0 && l.Algorithm == SlidingWindow:
		return b.expires + int64(l.Period)
	case b.count > 0 || b.prev > 0 && l.Algorithm == SlidingWindow:
		return b.expires
	}
	return now
}

// drained returns what is known at now of a bucket that lost its state at since: by the limit's Cold nothing, or that all
// was taken at that moment.
func (l *Limit) drained(since, now int64) bucket {
	if l.Cold == ColdFresh || l.Cold == ColdDefault && l.Algorithm != TokenBucket || l.capacity() == 0 {
		return missing()
	}
	period := int64(l.Period)
	switch l.Algorithm {
	case TokenBucket:
		s := l.plus(span{since, 0}, l.span(l.Burst))
		return bucket{expires: s.ns, count: s.back}
	case SlidingWindow:
		b := bucket{expires: windowEnd(now, period)}
		if since >= b.expires-period {
			b.count = l.Count
		} else if since >= b.expires-2*period {
			b.prev = l.Count
		}
		return b
	case RollingLog, Concurrency:
		return bucket{expires: since + period, count: l.Count}
	}
	return bucket{expires: l.windowEnd(since), count: l.Count}
}

func until(at, now int64) time.Duration { return time.Duration(max(0, at-now)) }
