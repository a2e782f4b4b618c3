package limiter

import (
	"errors"
	"math"
	"math/big"
	"testing"
	"time"
)

func TestLimitValidate(t *testing.T) {
	t.Parallel()
	const days = 24 * time.Hour
	for _, c := range []struct {
		limit Limit
		valid bool
	}{
		{Limit{Algorithm: TokenBucket, Count: 1, Period: time.Millisecond, Burst: 1}, true},
		{Limit{Algorithm: TokenBucket, Count: 1_000_000, Period: time.Millisecond, Burst: 1 << 61}, true},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: 3660 * days, Burst: 14}, true},
		{Limit{Algorithm: FixedWindow, Count: 1, Period: 3660 * days}, true},
		{Limit{Algorithm: FixedWindow, Count: int64(time.Second), Period: time.Second}, true},
		{Limit{Algorithm: 9, Count: 1, Period: time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 0, Period: time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: -1, Period: time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: time.Millisecond - 1, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: -time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: 3660*days + 1, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: int64(time.Second) + 1, Period: time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: 3660 * days, Burst: 15}, false},
		{Limit{Algorithm: TokenBucket, Count: 1, Period: time.Second, Burst: math.MaxInt64}, false},
		{Limit{Algorithm: FixedWindow, Count: 0, Period: time.Second}, false},
		{Limit{Algorithm: FixedWindow, Count: 1, Period: time.Second, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1<<32 - 1, Period: days, Burst: 1}, true},
		{Limit{Algorithm: TokenBucket, Count: 1<<32 + 1, Period: days, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 10_000_000_000, Period: days, Burst: 1}, true},
		{Limit{Algorithm: TokenBucket, Count: 10_000_000_000, Period: days + 1, Burst: 1}, false},
		{Limit{Algorithm: TokenBucket, Count: 1 << 32 * 1_000_000, Period: 3660 * days, Burst: 1}, false},
		{Limit{Algorithm: FixedWindow, Count: 1, Period: time.Second + 1}, false},
		{Limit{Algorithm: FixedWindow, Count: 1 << 47, Period: 3660 * days}, true},
		{Limit{Algorithm: FixedWindow, Count: 1<<47 + 1, Period: 3660 * days}, false},
		{Limit{Algorithm: FixedWindow, Count: 1, Period: time.Second, Zone: time.UTC}, false},
		{Limit{Algorithm: SlidingWindow, Count: 1, Period: time.Second}, true},
		{Limit{Algorithm: SlidingWindow, Count: 1, Period: time.Second, Calendar: Week}, false},
		{Limit{Algorithm: RollingLog, Count: 1, Period: time.Second}, true},
		{Limit{Algorithm: RollingLog, Count: 1, Period: time.Second, Cold: 3}, false},
		{Limit{Algorithm: CalendarWindow, Count: 1 << 47, Calendar: Year, Zone: time.UTC}, true},
		{Limit{Algorithm: CalendarWindow, Count: 1, Calendar: Year + 1}, false},
		{Limit{Algorithm: CalendarWindow, Count: 1, Period: time.Second}, false},
		{Limit{Algorithm: CalendarWindow, Count: 1, Burst: 1}, false},
		{Limit{Algorithm: Concurrency, Count: 10_000, Period: time.Second}, true},
		{Limit{Algorithm: Concurrency, Count: 10_001, Period: time.Second}, false},
	} {
		if err := c.limit.Validate(); (err == nil) != c.valid || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%+v: %v, want valid %v", c.limit, err, c.valid)
		}
	}
}

func TestShareRoundsDownAndMayAdmitNothing(t *testing.T) {
	t.Parallel()
	bucket := Limit{Algorithm: TokenBucket, Count: 60, Period: time.Minute, Burst: 20}
	for _, c := range []struct {
		n    int
		want Limit
	}{
		{-1, bucket},
		{0, bucket},
		{1, bucket},
		{3, Limit{Algorithm: TokenBucket, Count: 20, Period: time.Minute, Burst: 6}},
		{21, Limit{Algorithm: TokenBucket, Count: 2, Period: time.Minute}},
		{61, Limit{Algorithm: TokenBucket, Count: 0, Period: time.Minute}},
	} {
		if got := bucket.Share(c.n); got != c.want {
			t.Errorf("Share(%d) = %+v, want %+v", c.n, got, c.want)
		}
	}
	if got := (Limit{Algorithm: TokenBucket, Count: 20_000_000_000, Period: 24 * time.Hour, Burst: 9}).Share(3); got.Count != 6_666_000_000 || got.Validate() != nil {
		t.Errorf("a third of 20e9 a day is %d: %v", got.Count, got.Validate())
	}
	for _, l := range []Limit{bucket.Share(21), bucket.Share(61), Limit{Algorithm: FixedWindow, Count: 3, Period: time.Second}.Share(4)} {
		s := NewStore(DefaultConfig())
		takes := []Take{{Limit: &l, Cost: 1}}
		s.Cold(0, start)
		if o, _ := s.Take(0, start, takes); o != Refused || takes[0].Wait != Never || takes[0].Remaining != 0 {
			t.Errorf("a share %+v that admits nothing: %v %+v", l, o, takes[0])
		}
		takes[0].Cost = 0
		if o, _ := s.Take(0, start, takes); o != Taken {
			t.Errorf("a share %+v refuses to be looked at: %v", l, o)
		}
		s.Charge(0, start, takes)
	}
}

func TestWordsOfEnums(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		TokenBucket.String(): "token_bucket", FixedWindow.String(): "fixed_window", SlidingWindow.String(): "sliding_window",
		RollingLog.String(): "rolling_log", CalendarWindow.String(): "calendar_window", Concurrency.String(): "concurrency",
		Day.String(): "day", Week.String(): "week", Month.String(): "month", Year.String(): "year", Calendar(9).String(): "calendar(9)",
		Algorithm(9).String(): "algorithm(9)",
		Refused.String():      "refused", Taken.String(): "taken", Spilled.String(): "spilled", Full.String(): "full", Outcome(9).String(): "outcome(9)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

// TestKeyOfReferenceVector is from the vectors_sip128 of the reference implementation: key 00..0f, texts "" and 00..0e.
func TestKeyOfReferenceVector(t *testing.T) {
	t.Parallel()
	var secret [16]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	h := NewHasher(secret)
	if got, want := h.Key(nil), (Key{Hi: 0x930255c71472f66d, Lo: 0xe6a825ba047f81a3}); got != want {
		t.Errorf("%x, want %x", got, want)
	}
	if h.Key([]byte("a")) == h.Key([]byte("b")) || h.Key([]byte("a")) == NewHasher([16]byte{}).Key([]byte("a")) {
		t.Error("keys do not depend on the text and the secret")
	}
}

func TestWindowsBeforeTheEpochAreAlignedToo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ now, end int64 }{{0, 10}, {9, 10}, {10, 20}, {-1, 0}, {-10, 0}, {-11, -10}} {
		if got := windowEnd(c.now, 10); got != c.end {
			t.Errorf("windowEnd(%d) = %d, want %d", c.now, got, c.end)
		}
	}
}

// FuzzSpan holds the arithmetic of spans to that of fractions.
func FuzzSpan(f *testing.F) {
	f.Add(int64(3), int64(time.Second), int64(3), int64(1))
	f.Add(int64(7), int64(time.Minute), int64(1000), int64(999))
	f.Add(int64(time.Millisecond), int64(time.Millisecond), int64(1<<61), int64(1<<60))
	f.Add(int64(1), int64(3660*24*time.Hour), int64(14), int64(14))
	f.Fuzz(func(t *testing.T, count, period, burst, units int64) {
		l := Limit{Algorithm: TokenBucket, Count: count, Period: time.Duration(period), Burst: burst}
		if l.Validate() != nil || units < 0 || units > burst {
			return
		}
		exact := func(s span) *big.Rat {
			r := big.NewRat(s.back, count)
			return r.Sub(rat(s.ns), r)
		}
		want := func(units int64) *big.Rat {
			r := new(big.Rat).Mul(rat(units), rat(period))
			return r.Quo(r, rat(count))
		}
		all, some := l.span(burst), l.span(units)
		rest := l.minus(all, some)
		for _, c := range []struct {
			got   span
			units int64
		}{{all, burst}, {some, units}, {rest, burst - units}, {l.plus(rest, some), burst}} {
			if c.got.back < 0 || c.got.back >= count || exact(c.got).Cmp(want(c.units)) != 0 {
				t.Fatalf("%+v: %+v is %v ns, want %v", l, c.got, exact(c.got), want(c.units))
			}
			if n, up := l.units(c.got); n != c.units || up != n {
				t.Fatalf("%+v: %d units in the span of %d", l, n, c.units)
			}
		}
		less := earned(&l, 1)
		less.Sub(rat(burst), less)
		if n, up := l.units(l.minus(all, span{1, 0})); n != max(0, floor(less)) || up != max(0, ceil(less)) {
			t.Fatalf("%+v: %d to %d units in a nanosecond less than the burst's", l, n, up)
		}
	})
}
