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
		{Limit{TokenBucket, 1, time.Millisecond, 1}, true},
		{Limit{TokenBucket, 1_000_000, time.Millisecond, 1 << 61}, true},
		{Limit{TokenBucket, 1, 3660 * days, 14}, true},
		{Limit{FixedWindow, 1, 3660 * days, 0}, true},
		{Limit{FixedWindow, int64(time.Second), time.Second, 0}, true},
		{Limit{2, 1, time.Second, 1}, false},
		{Limit{TokenBucket, 0, time.Second, 1}, false},
		{Limit{TokenBucket, -1, time.Second, 1}, false},
		{Limit{TokenBucket, 1, time.Millisecond - 1, 1}, false},
		{Limit{TokenBucket, 1, -time.Second, 1}, false},
		{Limit{TokenBucket, 1, 3660*days + 1, 1}, false},
		{Limit{TokenBucket, int64(time.Second) + 1, time.Second, 1}, false},
		{Limit{TokenBucket, 1, time.Second, 0}, false},
		{Limit{TokenBucket, 1, 3660 * days, 15}, false},
		{Limit{TokenBucket, 1, time.Second, math.MaxInt64}, false},
		{Limit{FixedWindow, 0, time.Second, 0}, false},
		{Limit{FixedWindow, 1, time.Second, 1}, false},
	} {
		if err := c.limit.Validate(); (err == nil) != c.valid || err != nil && !errors.Is(err, ErrLimit) {
			t.Errorf("%+v: %v, want valid %v", c.limit, err, c.valid)
		}
	}
}

func TestShareRoundsDownAndMayAdmitNothing(t *testing.T) {
	t.Parallel()
	bucket := Limit{TokenBucket, 60, time.Minute, 20}
	for _, c := range []struct {
		n    int
		want Limit
	}{
		{-1, bucket},
		{0, bucket},
		{1, bucket},
		{3, Limit{TokenBucket, 20, time.Minute, 6}},
		{21, Limit{TokenBucket, 2, time.Minute, 0}},
		{61, Limit{TokenBucket, 0, time.Minute, 0}},
	} {
		if got := bucket.Share(c.n); got != c.want {
			t.Errorf("Share(%d) = %+v, want %+v", c.n, got, c.want)
		}
	}
	for _, l := range []Limit{bucket.Share(21), bucket.Share(61), Limit{FixedWindow, 3, time.Second, 0}.Share(4)} {
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
		TokenBucket.String(): "token_bucket", FixedWindow.String(): "fixed_window", Algorithm(9).String(): "algorithm(9)",
		Refused.String(): "refused", Taken.String(): "taken", Spilled.String(): "spilled", Full.String(): "full", Outcome(9).String(): "outcome(9)",
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
		l := Limit{TokenBucket, count, time.Duration(period), burst}
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
			if n := l.units(c.got); n != c.units {
				t.Fatalf("%+v: %d units in the span of %d", l, n, c.units)
			}
		}
		if s := l.minus(all, span{1, 0}); l.units(s) != max(0, floor(earned(&l, 1).Sub(rat(burst), earned(&l, 1)))) {
			t.Fatalf("%+v: %d units in a nanosecond less than the burst's", l, l.units(s))
		}
	})
}
