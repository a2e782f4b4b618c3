// Package limiter says how much of a limit is left: the algorithms, and the partitioned store of their buckets.
//
// Amounts are int64 units of a meter; time is `now`, Unix nanoseconds, a parameter of every call. All arithmetic is exact,
// fractions of a nanosecond included: a bucket admits neither a unit more nor a unit less than its limit says.
// The package is pure: no clock, no network, no log, no goroutine.
package limiter

import (
	"errors"
	"fmt"
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
	// SlidingWindow admits Count units in a Period that moves along: what the window before took counts by how much of it
	// the moving Period still covers, as if it had come evenly (Cloudflare's weighted two-bucket counter, 2017).
	SlidingWindow
	// RollingLog admits Count units in any Period, exactly: it remembers when each was taken. Units taken at one instant
	// are a run; a key costs 24 bytes, and 40 more for each run and for the log. Past 10,000 runs the newest takes in the units
	// that come next and ages with them, so that they count for longer, never for less.
	RollingLog
	// CalendarWindow admits Count units in each day, week, month or year of a time zone.
	CalendarWindow
	// Concurrency admits Count units in flight; what is not released ends by itself after Period.
	Concurrency
)

// String returns the name that policies use.
func (a Algorithm) String() string {
	switch a {
	case TokenBucket:
		return "token_bucket"
	case FixedWindow:
		return "fixed_window"
	case SlidingWindow:
		return "sliding_window"
	case RollingLog:
		return "rolling_log"
	case CalendarWindow:
		return "calendar_window"
	case Concurrency:
		return "concurrency"
	}
	return "algorithm(" + strconv.Itoa(int(a)) + ")"
}

// Cold is what a limit says of a missing bucket in a partition that lost its state (Store.Cold).
type Cold uint8

const (
	// ColdDefault is ColdDrained for a TokenBucket and ColdFresh for the others.
	ColdDefault Cold = iota
	// ColdDrained supposes that everything was taken at the moment of the loss.
	ColdDrained
	// ColdFresh supposes that nothing was taken.
	ColdFresh
)

// Takeover is what a limit says of the buckets of a partition that goes on with a copy (Store.Inherit).
type Takeover uint8

const (
	// TakeoverCopy takes them as they are in the copy, which may lack what was taken last.
	TakeoverCopy Takeover = iota
	// TakeoverEmpty has them owe no less than a bucket that was lost (Cold), so that no unit is given twice.
	TakeoverEmpty
)

const (
	periodMin = time.Millisecond
	periodMax = 3660 * 24 * time.Hour
	// debtMax (146 years) bounds how long a bucket takes to fill, in nanoseconds, so that sums with a present time fit int64.
	debtMax = 1 << 62
	// unitsMax is what an entry has room for to count in a window or a log.
	unitsMax = 1<<48 - 1
	countMax = 1 << 47
	// fractionMax is what an entry has room for of a fraction of a nanosecond, and coarse the step of counts above it.
	fractionMax = 1 << 32
	coarse      = 1_000_000
	// runsMax bounds the runs of units that one key's log remembers apart, and the slots of one key.
	runsMax = 10_000
)

// ErrLimit is wrapped by every error of Validate.
var ErrLimit = errors.New("invalid limit")

// Limit is a rate: Count units every Period. It must satisfy Validate or be a Share of one that does. A bucket whose limit
// changes keeps what it owes; one whose limit changes its algorithm starts anew.
type Limit struct {
	Algorithm Algorithm
	Count     int64
	Period    time.Duration  // 0 for a CalendarWindow
	Burst     int64          // capacity of a TokenBucket in units; 0 for the others, whose capacity is Count
	Calendar  Calendar       // the window of a CalendarWindow
	Zone      *time.Location // where a CalendarWindow begins and ends; nil is UTC
	Cold      Cold           // what is known of it where the state was lost
	Takeover  Takeover       // what is known of it where the state is a copy
}

// Validate returns nil if the store can count by the limit, else an error that wraps ErrLimit and says what is out of
// bounds: Period 1 ms to 3660 days, whole milliseconds but for a TokenBucket; Count 1 to one a nanosecond and at most 2^47,
// for Concurrency 10,000; a Burst that is earned within 2^62 ns; and a TokenBucket's Count is below 2^32, or a multiple of
// 10^6 below 2^32 * 10^6 with a Period of whole milliseconds, so that fractions of a nanosecond are counted exactly.
func (l Limit) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrLimit, fmt.Sprintf(format, args...))
	}
	calendar := l.Algorithm == CalendarWindow
	switch {
	case l.Algorithm > Concurrency:
		return bad("unknown %v", l.Algorithm)
	case l.Calendar > Year:
		return bad("unknown %v", l.Calendar)
	case l.Cold > ColdFresh:
		return bad("unknown cold start %d", l.Cold)
	case l.Takeover > TakeoverEmpty:
		return bad("unknown take-over %d", l.Takeover)
	case calendar && l.Period != 0:
		return bad("period %v on a calendar window, which has its %v", l.Period, l.Calendar)
	case !calendar && (l.Calendar != Day || l.Zone != nil):
		return bad("a calendar or a time zone on a %v", l.Algorithm)
	case !calendar && (l.Period < periodMin || l.Period > periodMax):
		return bad("period %v is not within %v and 3660 days", l.Period, periodMin)
	case l.Count < 1:
		return bad("count %d is below 1", l.Count)
	case !calendar && l.Count > int64(l.Period):
		return bad("count %d every %v is more than one a nanosecond", l.Count, l.Period)
	case l.Algorithm == TokenBucket:
		return l.validateBurst()
	case l.Burst != 0:
		return bad("burst %d on a %v, which has none", l.Burst, l.Algorithm)
	case l.Count > countMax:
		return bad("count %d is above 2^47", l.Count)
	case l.Algorithm == Concurrency && l.Count > runsMax:
		return bad("%d slots are more than %d", l.Count, runsMax)
	case l.Period%time.Millisecond != 0:
		return bad("period %v is not whole milliseconds", l.Period)
	}
	return nil
}

func (l *Limit) validateBurst() error {
	switch {
	case l.Count >= fractionMax && (l.Count%coarse != 0 || l.Period%time.Millisecond != 0 || l.Count/coarse >= fractionMax):
		return fmt.Errorf("%w: count %d every %v is above 2^32 and not a multiple of 10^6 in whole milliseconds", ErrLimit, l.Count, l.Period)
	case l.Burst < 1:
		return fmt.Errorf("%w: burst %d is below 1", ErrLimit, l.Burst)
	case !l.spannable(l.Burst):
		return fmt.Errorf("%w: burst %d takes more than 146 years at %d every %v", ErrLimit, l.Burst, l.Count, l.Period)
	}
	return nil
}

// Share returns the n-th part of the limit, rate and burst rounded down; it may admit nothing at all. n below 1 counts as 1.
// A TokenBucket's Count of 2^32 and more is rounded down to a multiple of 10^6.
func (l Limit) Share(n int) Limit {
	d := int64(max(n, 1))
	l.Count /= d
	l.Burst /= d
	if l.Algorithm == TokenBucket && l.Count >= fractionMax {
		l.Count -= l.Count % coarse
	}
	return l
}

func (l *Limit) capacity() int64 {
	if l.Algorithm != TokenBucket || l.Count == 0 {
		return l.Count
	}
	return l.Burst
}
