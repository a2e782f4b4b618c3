package chaos

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawTakes draws takes with the moment at which each truly was.
func drawTakes(t *rapid.T) (takes []take, truth []take) {
	n := rapid.IntRange(1, 40).Draw(t, "takes")
	for i := range n {
		at := time.Duration(rapid.Int64Range(0, 5e9).Draw(t, "at"))
		from := at - time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "before"))
		until := at + time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "after"))
		units := float64(rapid.IntRange(1, 3).Draw(t, "units"))
		takes = append(takes, take{from: from, until: until, units: units, op: int32(i)})
		truth = append(truth, take{from: at, until: at, units: units, op: int32(i)})
	}
	return takes, truth
}

// slowBurst tries every interval.
func slowBurst(takes []take, rate float64) float64 {
	most := math.Inf(-1)
	for _, a := range takes {
		for _, b := range takes {
			var sum float64
			for _, k := range takes {
				if k.from >= a.from && k.until <= b.until {
					sum += k.units
				}
			}
			if sum > 0 && b.until >= a.from {
				most = max(most, sum-rate*(b.until-a.from).Seconds())
			}
		}
	}
	return most
}

func slowCrowd(takes []take, length time.Duration) (most float64) {
	for _, a := range takes {
		var sum float64
		for _, k := range takes {
			if k.until <= a.until && k.from >= a.until-length {
				sum += k.units
			}
		}
		most = max(most, sum)
	}
	return most
}

// TestMetersAreExactAndNeverAboveTheTruth compares both meters with trying every interval, and with what truly was.
func TestMetersAreExactAndNeverAboveTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		takes, truth := drawTakes(t)
		rate := rapid.Float64Range(0, 20).Draw(t, "rate")
		length := time.Duration(rapid.Int64Range(1, 3e9).Draw(t, "length"))
		worst, _ := burst(takes, nil, rate, 0)
		if want := slowBurst(takes, rate); math.Abs(worst.most-want) > 1e-6 {
			t.Fatalf("burst %g, every interval tried %g", worst.most, want)
		}
		if truly, _ := burst(truth, nil, rate, 0); worst.most > truly.most+1e-6 {
			t.Fatalf("burst %g, in truth %g", worst.most, truly.most)
		}
		crowd, _ := crowded(takes, nil, length, 0)
		if want := slowCrowd(takes, length); crowd.most != want {
			t.Fatalf("crowd %g, every interval tried %g", crowd.most, want)
		}
		if truly, _ := crowded(truth, nil, length, 0); crowd.most > truly.most {
			t.Fatalf("crowd %g, in truth %g", crowd.most, truly.most)
		}
	})
}

// TestFewestExceedTheBoundByThemselves reads the gauge again over what is shown of it.
func TestFewestExceedTheBoundByThemselves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		takes, _ := drawTakes(t)
		g := gauge{capacity: float64(rapid.IntRange(0, 10).Draw(t, "capacity")), rate: rapid.Float64Range(0, 5).Draw(t, "rate"), crowd: -1}
		if rapid.Bool().Draw(t, "a window") {
			g.capacity, g.crowd, g.span = -1, g.capacity, time.Second
		}
		r, _ := g.measure("", takes, nil)
		if r.margin() >= -rounding {
			return
		}
		for _, ends := range []time.Duration{r.first.ends, r.worst.ends} {
			shown := r.fewest(ends)
			few := slices.DeleteFunc(slices.Clone(takes), func(k take) bool { return !slices.Contains(shown, k.op) })
			if again, _ := g.measure("", few, nil); again.margin() >= -rounding/2 {
				t.Fatalf("%d of %d takes do not exceed %g: %g", len(few), len(takes), r.bound, again.worst.most)
			}
		}
	})
}

// TestBoundsOfAlgorithmsHoldForThoseAlone drives each algorithm as hard as it lets and reads its gauge.
func TestBoundsOfAlgorithmsHoldForThoseAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &mill{r: rand.New(rand.NewPCG(1, 1))}
		for _, rule := range millRules() {
			l := &level{}
			var takes []take
			for at := time.Duration(0); at < 40*time.Second; at += time.Duration(rapid.Int64Range(1e6, 2e9).Draw(t, "pause")) {
				for range rapid.IntRange(1, 20).Draw(t, "asked") {
					o := Op{}
					if m.answer(&o, rule, l, at, rule.Burst, rule.Limit, rule.Rate); o.Reply.Verdict == "ALLOW" {
						takes = append(takes, take{from: at, until: at, units: 1})
					}
				}
			}
			if len(takes) == 0 {
				continue
			}
			if r, _ := (bounds{rule, rule.Rate}).gaugeOf(1).measure(rule.Name, takes, nil); r.margin() < -rounding {
				t.Fatalf("%s: %g of %g", r.what, r.worst.most, r.bound)
			}
		}
	})
}
