// Package limiter says how much of a limit is left: the algorithms, and the partitioned store of their buckets.
//
// Amounts are int64 units of a meter; time is `now`, Unix nanoseconds, a parameter of every call. All arithmetic is exact,
// fractions of a nanosecond included: a bucket admits neither a unit more nor a unit less than its limit says.
// The package is pure: no clock, no network, no log, no goroutine.
package limiter

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

// Algorithm is how a limit counts.
type Algorithm uint8

const (
	// TokenBucket holds up to Burst units and gains Count units every Period, evenly. It is the generic cell rate algorithm
	// in its virtual scheduling form (ITU-T I.371, annex A), the same as Turner's leaky bucket used as a meter.
	TokenBucket Algorithm = iota
	// FixedWindow admits Count units in each window of Period; windows are aligned to the Unix epoch.
	FixedWindow
)

// String returns the name that policies use.
func (a Algorithm) String() string {
	switch a {
	case TokenBucket:
		return "token_bucket"
	case FixedWindow:
		return "fixed_window"
	}
	return "algorithm(" + strconv.Itoa(int(a)) + ")"
}

const (
	periodMin = time.Millisecond
	periodMax = 3660 * 24 * time.Hour
	// debtMax (146 years) bounds how long a bucket takes to fill, in nanoseconds, so that sums with a present time fit int64.
	debtMax = 1 << 62
)

// ErrLimit is wrapped by every error of Validate.
var ErrLimit = errors.New("invalid limit")

// Limit is a rate: Count units every Period. It must satisfy Validate or be a Share of one that does.
type Limit struct {
	Algorithm Algorithm
	Count     int64
	Period    time.Duration
	Burst     int64 // capacity of a TokenBucket in units; 0 for a FixedWindow, whose capacity is Count
}

// Validate returns nil if the store can count by the limit, else an error that wraps ErrLimit and says what is out of
// bounds: Count 1 to one a nanosecond, Period 1 ms to 3660 days, and a Burst that is earned within 2^62 ns.
func (l Limit) Validate() error {
	switch {
	case l.Algorithm > FixedWindow:
		return fmt.Errorf("%w: unknown %v", ErrLimit, l.Algorithm)
	case l.Period < periodMin || l.Period > periodMax:
		return fmt.Errorf("%w: period %v is not within %v and 3660 days", ErrLimit, l.Period, periodMin)
	case l.Count < 1:
		return fmt.Errorf("%w: count %d is below 1", ErrLimit, l.Count)
	case l.Count > int64(l.Period):
		return fmt.Errorf("%w: count %d every %v is more than one a nanosecond", ErrLimit, l.Count, l.Period)
	case l.Algorithm == FixedWindow && l.Burst != 0:
		return fmt.Errorf("%w: burst %d on a fixed window, which has none", ErrLimit, l.Burst)
	case l.Algorithm == TokenBucket && l.Burst < 1:
		return fmt.Errorf("%w: burst %d is below 1", ErrLimit, l.Burst)
	case l.Algorithm == TokenBucket && !l.spannable(l.Burst):
		return fmt.Errorf("%w: burst %d takes more than 146 years at %d every %v", ErrLimit, l.Burst, l.Count, l.Period)
	}
	return nil
}

// Share returns the n-th part of the limit, rate and burst rounded down; it may admit nothing at all. n below 1 counts as 1.
func (l Limit) Share(n int) Limit {
	d := int64(max(n, 1))
	l.Count /= d
	l.Burst /= d
	return l
}

func (l *Limit) capacity() int64 {
	switch {
	case l.Algorithm == FixedWindow || l.Count == 0:
		return l.Count
	}
	return l.Burst
}

// span is an exact stretch of time, or a moment: ns - back/Count nanoseconds of a limit, 0 <= back < Count.
// So ns is the stretch rounded up, and units of any size add up without an error.
type span struct{ ns, back int64 }

// span returns how long a token bucket takes to gain the units: units * Period / Count. It must be spannable.
func (l *Limit) span(units int64) span {
	hi, lo := bits.Mul64(uint64(units), uint64(l.Period))
	ns, rest := bits.Div64(hi, lo, uint64(l.Count))
	if rest == 0 {
		return span{int64(ns), 0}
	}
	return span{int64(ns) + 1, l.Count - int64(rest)}
}

func (l *Limit) spannable(units int64) bool {
	hi, lo := bits.Mul64(uint64(units), uint64(l.Period))
	if hi >= uint64(l.Count) {
		return false
	}
	ns, _ := bits.Div64(hi, lo, uint64(l.Count))
	return ns < debtMax
}

// units returns how many whole units a token bucket gains in the span, 0 for a negative one: (ns*Count - back) / Period.
func (l *Limit) units(s span) int64 {
	if s.ns <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(s.ns), uint64(l.Count))
	lo, borrow := bits.Sub64(lo, uint64(s.back), 0)
	units, _ := bits.Div64(hi-borrow, lo, uint64(l.Period))
	return int64(units)
}

func (l *Limit) plus(a, b span) span {
	s := span{a.ns + b.ns, a.back + b.back}
	if s.back >= l.Count {
		return span{s.ns - 1, s.back - l.Count}
	}
	return s
}

func (l *Limit) minus(a, b span) span {
	s := span{a.ns - b.ns, a.back - b.back}
	if s.back < 0 {
		return span{s.ns + 1, s.back + l.Count}
	}
	return s
}
