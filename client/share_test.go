package client

import (
	"hash/maphash"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A share admits no more than its part of the limit at once, and what the window lets grow back after.
func TestShareOfALimit(t *testing.T) {
	t.Parallel()
	type take struct {
		at   time.Duration
		cost int64
		wait time.Duration
	}
	for name, row := range map[string]struct {
		limit, burst, n int64
		window          time.Duration
		takes           []take
	}{
		"a third of ten":        {10, 0, 3, time.Minute, []take{{0, 3, 0}, {0, 1, 20 * time.Second}, {20 * time.Second, 1, 0}, {20 * time.Second, 1, 20 * time.Second}}},
		"a burst of its own":    {60, 4, 2, time.Minute, []take{{0, 2, 0}, {0, 1, 2 * time.Second}, {2 * time.Second, 1, 0}}},
		"less than one":         {10, 0, 11, time.Minute, []take{{0, 1, never}, {time.Hour, 1, never}}},
		"more than it ever has": {10, 0, 1, time.Minute, []take{{0, 11, never}, {0, 10, 0}}},
		"nothing is free":       {1, 0, 1, time.Minute, []take{{0, 1, 0}, {0, 0, 0}}},
		"back in time":          {1, 0, 1, time.Minute, []take{{0, 1, 0}, {-time.Hour, 1, time.Minute}, {-time.Hour + time.Minute, 1, 0}}},
		"no more than full":     {2, 0, 1, time.Minute, []take{{0, 2, 0}, {time.Hour, 2, 0}, {time.Hour, 1, 30 * time.Second}}},
		"no window":             {1, 0, 1, 0, []take{{0, 1, 0}, {time.Millisecond, 1, 0}}},
	} {
		var b bucket
		p := partOf(row.limit, row.burst, row.window, row.n)
		start := time.Unix(1_000_000, 0)
		for i, k := range row.takes {
			b.fill(p, start.Add(k.at))
			wait := b.wait(p, k.cost)
			if wait != k.wait {
				t.Errorf("%s: take %d waits %v, want %v", name, i, wait, k.wait)
			}
			if wait == 0 {
				b.take(p, k.cost)
			}
		}
	}
}

// Whatever is asked and when: no more than the burst and what the rate makes is admitted, and who waits as told is admitted.
func TestShareNeverAdmitsMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 1_000_000).Draw(t, "limit")
		burst := rapid.Int64Range(0, 2_000_000).Draw(t, "burst")
		n := rapid.Int64Range(1, 50).Draw(t, "n")
		p := partOf(limit, burst, time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(24*time.Hour)).Draw(t, "window")), n)
		var b bucket
		start, gone, admitted := time.Unix(1_000_000, 0), time.Duration(0), int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "takes") {
			gone += time.Duration(rapid.Int64Range(0, int64(p.window)/4).Draw(t, "pause"))
			b.fill(p, start.Add(gone))
			cost := rapid.Int64Range(0, p.most+1).Draw(t, "cost")
			wait := b.wait(p, cost)
			if wait > 0 && wait < 100*24*time.Hour && rapid.Bool().Draw(t, "waits") {
				gone += wait
				b.fill(p, start.Add(gone))
				if wait = b.wait(p, cost); wait > time.Millisecond {
					t.Fatalf("after its wait it waits for %v more", wait)
				}
			}
			if wait == 0 {
				b.take(p, cost)
				admitted += cost
			}
			if most := float64(p.most) + float64(p.units)*gone.Seconds()/p.window.Seconds(); float64(admitted) > most*(1+1e-9)+1e-6 {
				t.Fatalf("%d admitted within %v, at most %v", admitted, gone, most)
			}
		}
	})
}

// What meets other limits has another name, and the order of maps is no part of it.
func TestShapesTellRequestsApart(t *testing.T) {
	t.Parallel()
	s := shaper{maphash.MakeSeed()}
	seen := map[uint64]int{}
	for i, q := range []CheckRequest{
		{Domain: "d"},
		{Domain: "e"},
		{Domain: "d", Cost: map[string]int64{"a": 1, "b": 1}},
		{Domain: "d", Attributes: map[string]string{"a": "b"}},
		{Domain: "d", Attributes: map[string]string{"ab": ""}},
		{Domain: "d", Attributes: map[string]string{"a": "b"}, Cost: map[string]int64{"c": 1}},
		{Domain: "d", Attributes: map[string]string{"a": "b", "c": "d"}},
	} {
		shape := shapeOf(t, s, q)
		if j, ok := seen[shape]; ok {
			t.Errorf("requests %d and %d have one shape", j, i)
		}
		seen[shape] = i
	}
	q := CheckRequest{Domain: "d", Attributes: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}, Cost: map[string]int64{"x": 1, "y": 2, "z": 0}}
	same := CheckRequest{Domain: "d", Attributes: q.Attributes, Cost: map[string]int64{"x": 7, "y": 8}}
	for range 20 {
		if shapeOf(t, s, q) != shapeOf(t, s, same) {
			t.Fatal("amounts, or an order, are part of the shape")
		}
	}
}

func TestLRUForgetsTheLeastLatelyUsed(t *testing.T) {
	t.Parallel()
	l := newLRU[string](2)
	*l.add(1), *l.add(2) = "a", "b"
	if l.find(1) == nil || *l.find(1) != "a" {
		t.Error("1 is lost")
	}
	if *l.oldest() != "b" {
		t.Errorf("the oldest is %q", *l.oldest())
	}
	*l.add(3) = "c"
	if l.find(2) != nil || l.find(1) == nil || l.find(3) == nil || len(l.byKey) != 2 {
		t.Error("not 2 was forgotten")
	}
	l.remove(1)
	l.remove(1)
	if l.find(1) != nil || l.oldest() != nil {
		t.Error("1 is still there")
	}
	l.add(4)
	l.add(5)
	if l.find(3) != nil || l.find(4) == nil || l.find(5) == nil {
		t.Error("not 3 was forgotten")
	}
}
