package limiter

import (
	"math"
	"time"
)

// bucket is the state of one limit for one key. From the moment it expires it says nothing that a missing one does not.
//
// For a token bucket, expires and count are the theoretical arrival time as a span: when all that was taken is earned
// again, the bucket is full. For a fixed window, expires is the window's end and count what was taken in it.
type bucket struct {
	expires int64
	count   int64
}

// missing is what an unknown key has: a bucket that expired before any time.
func missing() bucket { return bucket{expires: math.MinInt64} }

// present returns what b says at now. A live bucket under a changed limit keeps its debt: a fraction that does not fit is
// rounded up, the count of a window of another length is carried into the present one.
func (l *Limit) present(b bucket, now int64) bucket {
	if l.Algorithm == FixedWindow {
		end := windowEnd(now, int64(l.Period))
		if now >= b.expires {
			return bucket{expires: end}
		}
		return bucket{expires: end, count: b.count}
	}
	if now >= b.expires {
		return bucket{expires: now}
	}
	if b.count >= l.Count {
		b.count = 0
	}
	return b
}

func windowEnd(now, period int64) int64 {
	into := now % period
	if into < 0 {
		into += period
	}
	return now - into + period
}

// available returns the whole units left in a present bucket.
func (l *Limit) available(b bucket, now int64) int64 {
	if l.Algorithm == FixedWindow {
		return max(0, l.Count-b.count)
	}
	if l.capacity() == 0 {
		return 0
	}
	return l.units(l.minus(l.span(l.Burst), span{b.expires - now, b.count}))
}

// chargeable returns how many units a present bucket can still owe.
func (l *Limit) chargeable(b bucket, now int64) int64 {
	switch {
	case l.Count == 0:
		return 0
	case l.Algorithm == FixedWindow:
		return math.MaxInt64 - b.count
	}
	return l.units(l.minus(span{debtMax, 0}, span{b.expires - now, b.count}))
}

// after returns a present bucket with the units taken, which are available or at least chargeable.
func (l *Limit) after(b bucket, units int64) bucket {
	if units == 0 {
		return b
	}
	if l.Algorithm == FixedWindow {
		return bucket{b.expires, b.count + units}
	}
	s := l.plus(span{b.expires, b.count}, l.span(units))
	return bucket{s.ns, s.back}
}

// without returns a present bucket with the units given back.
func (l *Limit) without(b bucket, units int64) bucket {
	if l.Algorithm == FixedWindow {
		return bucket{b.expires, max(0, b.count-units)}
	}
	s := l.minus(span{b.expires, b.count}, l.span(units))
	return bucket{s.ns, s.back}
}

// opens returns the moment from which a present bucket has the units available; false if they are more than it ever has.
func (l *Limit) opens(b bucket, units int64) (at int64, ever bool) {
	if units > l.capacity() {
		return 0, false
	}
	if l.Algorithm == FixedWindow {
		return b.expires, true
	}
	beyond := l.minus(l.span(units), l.span(l.Burst)) // never positive, so the sum stays in range
	return l.plus(span{b.expires, b.count}, beyond).ns, true
}

// untouched says whether a present bucket has its whole capacity.
func (l *Limit) untouched(b bucket, now int64) bool {
	if l.Algorithm == FixedWindow {
		return b.count == 0
	}
	return b.expires <= now
}

// drained returns the bucket that lost its state at since: a token bucket then owes what it cannot have earned again.
func (l *Limit) drained(since int64) bucket {
	if l.Algorithm == FixedWindow || l.capacity() == 0 {
		return missing()
	}
	s := l.plus(span{since, 0}, l.span(l.Burst))
	return bucket{s.ns, s.back}
}

func until(at, now int64) time.Duration { return time.Duration(max(0, at-now)) }
