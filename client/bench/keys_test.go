package bench

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeysFallAsTheSpreadSays(t *testing.T) {
	t.Parallel()
	const n, keys = 100_000, 100
	zipf1 := 0.0 // weight of all ranks, of which the first has 1
	for k := 1; k <= keys; k++ {
		zipf1 += math.Pow(float64(k), -zipfExponent)
	}
	rows := []struct {
		spread      Spread
		first, last float64 // share of the first and of the last key
	}{
		{Uniform, 1. / keys, 1. / keys},
		{Hot, 0.5, 0.5 / (keys - 1)},
		{Zipf, 1 / zipf1, math.Pow(keys, -zipfExponent) / zipf1},
	}
	for _, r := range rows {
		pick, err := newPicks(r.spread, keys, 7)
		if err != nil {
			t.Fatal(err)
		}
		var seen [keys]int
		for range n {
			seen[pick()]++
		}
		wantShare(t, r.spread, "first", float64(seen[0])/n, r.first)
		wantShare(t, r.spread, "last", float64(seen[keys-1])/n, r.last)
	}
}

func wantShare(t *testing.T, s Spread, key string, got, want float64) {
	t.Helper()
	if got < want*0.8 || got > want*1.2 {
		t.Errorf("%s: the %s key has %.4f of all picks, want %.4f", s, key, got, want)
	}
}

func TestSameSeedPicksTheSameKeys(t *testing.T) {
	t.Parallel()
	for _, s := range []Spread{Uniform, Zipf, Hot} {
		a, _ := newPicks(s, 1000, 3)
		b, _ := newPicks(s, 1000, 3)
		other, _ := newPicks(s, 1000, 4)
		differ := false
		for range 100 {
			x := a()
			if y := b(); x != y {
				t.Fatalf("%s: %d and %d of the same seed", s, x, y)
			}
			differ = other() != x || differ
		}
		if !differ {
			t.Errorf("%s: two seeds pick the same", s)
		}
	}
	for _, s := range []Spread{Uniform, Zipf, Hot} {
		if pick, err := newPicks(s, 1, 1); err != nil || pick() != 0 {
			t.Errorf("%s of one key: %v", s, err)
		}
	}
	if _, err := newPicks("lumpy", 10, 1); err == nil {
		t.Error("a spread that there is not")
	}
	if _, err := newPicks(Uniform, 0, 1); err == nil {
		t.Error("no keys at all")
	}
}

func TestArrivalsComeAtTheirRateAndUnevenly(t *testing.T) {
	t.Parallel()
	const n, rate = 50_000, 1000.0
	a := newArrivals(rate, 5)
	last, short, longest := time.Duration(0), 0, time.Duration(0)
	for range n {
		at := a.next()
		if at < last {
			t.Fatalf("%v comes after %v", at, last)
		}
		if at-last < time.Millisecond/2 {
			short++
		}
		longest = max(longest, at-last)
		last = at
	}
	if got := n / last.Seconds(); got < 0.97*rate || got > 1.03*rate {
		t.Errorf("%.0f a second, want %.0f", got, rate)
	}
	// Of a Poisson process 1 - e^-0.5 of the gaps are shorter than half the mean.
	if got, want := float64(short)/n, 1-math.Exp(-0.5); math.Abs(got-want) > 0.02 || longest < 5*time.Millisecond {
		t.Errorf("%.3f of the gaps are short, want %.3f; the longest is %v", got, want, longest)
	}
}

func wakesEarly(d time.Duration) { time.Sleep(d/2 + 1) }

// pacing runs a schedule in virtual time with a taker that is busy for hold after each arrival, and returns
// how late each one was taken.
func pacing(t *testing.T, rate float64, length, hold time.Duration) []time.Duration {
	t.Helper()
	var late []time.Duration
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		due := make(chan time.Time)
		go pace(t.Context(), clock{time.Now, wakesEarly}, newArrivals(rate, 1), start, start.Add(length), due)
		for at := range due {
			late = append(late, time.Since(at))
			time.Sleep(hold)
		}
	})
	return late
}

func TestArrivalsAreHandedOutWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	late := pacing(t, 1000, 10*time.Second, 0)
	if len(late) < 9000 || len(late) > 11000 {
		t.Errorf("%d arrivals in 10 s at 1000 a second", len(late))
	}
	for i, l := range late {
		if l != 0 {
			t.Fatalf("arrival %d was handed out %v late though somebody waited for it", i, l)
		}
	}
}

func TestNoArrivalIsOmittedWhenNobodyTakesThem(t *testing.T) {
	t.Parallel()
	want := len(pacing(t, 100, 10*time.Second, 0))
	late := pacing(t, 100, 10*time.Second, 20*time.Millisecond) // takes twice as long as they come
	if len(late) != want {
		t.Errorf("%d arrivals were handed out of %d", len(late), want)
	}
	if last := late[len(late)-1]; last < 8*time.Second || last > 12*time.Second {
		t.Errorf("the last one of an overload of two for 10 s is %v late, want about 10 s", last)
	}
}
