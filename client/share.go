package client

import (
	"math"
	"time"
)

// bucket is this client's share of one limit for one account, while no node answers: a token bucket of a part of the
// limit. It is made full and never reset. It knows no clock.
type bucket struct {
	level float64 // units left at at
	at    time.Time
	full  time.Time // when it is full again
}

const never = -time.Millisecond // a wait that no time ends

// part is one client's part of a limit.
type part struct {
	units  int64         // each window
	most   int64         // that the bucket holds
	window time.Duration // above zero
}

// partOf cuts a limit into n parts, rounded down.
func partOf(limit, burst int64, window time.Duration, n int64) part {
	if burst <= 0 {
		burst = limit
	}
	return part{units: limit / n, most: burst / n, window: max(window, time.Millisecond)}
}

// fill brings the bucket up to now. A clock that went backward adds nothing.
func (b *bucket) fill(p part, now time.Time) {
	if b.at.IsZero() {
		b.level, b.at = float64(p.most), now
	}
	if gone := now.Sub(b.at); gone > 0 {
		b.level += float64(p.units) * (gone.Seconds() / p.window.Seconds())
	}
	b.level, b.at = min(b.level, float64(p.most)), now
	b.full = now.Add(p.time(float64(p.most) - b.level))
}

// wait is how long until the bucket has cost; negative for never.
func (b *bucket) wait(p part, cost int64) time.Duration {
	switch {
	case cost > p.most || p.units == 0 && b.level < float64(cost):
		return never
	case b.level >= float64(cost):
		return 0
	}
	return p.time(float64(cost) - b.level)
}

// take takes what wait says is there.
func (b *bucket) take(p part, cost int64) {
	b.level -= float64(cost)
	b.full = b.at.Add(p.time(float64(p.most) - b.level))
}

// time is how long so many units take, rounded up to a whole millisecond.
func (p part) time(units float64) time.Duration {
	if units <= 0 {
		return 0
	}
	ms := math.Ceil(units / float64(p.units) * (p.window.Seconds() * 1000))
	const most = float64(math.MaxInt64 / int64(time.Millisecond) / 2)
	return time.Duration(min(ms, most)) * time.Millisecond // a part of zero units is never full: the longest time
}
