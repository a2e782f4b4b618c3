package bench

import (
	"math"
)

// Change is a figure or a step that two reports have in common.
type Change struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Old     float64 `json:"old"`
	New     float64 `json:"new"`
	Percent float64 `json:"percent"` // of Old; positive is more
	Noise   float64 `json:"noise"`   // percent that rounds of one report differ by, of the noisier report
	Verdict string  `json:"verdict"` // better, worse, noise, or machine
}

// The verdicts of a Change.
const (
	Better = "better"
	Worse  = "worse"
	Noise  = "noise" // no larger than what rounds differ by
	// ByMachine is larger, but of the floor: the machine or the libraries changed, not Weir.
	ByMachine = "machine"
)

// Compare returns what changed from an old report to a new one, in the new one's order. What only one of
// them has is left out.
func Compare(old, now Report) []Change {
	var all []Change
	for _, f := range now.Figures {
		for _, o := range old.Figures {
			if o.Name == f.Name && o.Unit == f.Unit {
				all = append(all, change(f.Name, f.Unit, o.Got, f.Got, max(o.Spread, f.Spread), f.Most == 0))
			}
		}
	}
	for _, s := range now.Steps {
		for _, o := range old.Steps {
			if o.Name == s.Name && o.On == s.On {
				all = append(all, stepChanges(o, s)...)
			}
		}
	}
	return all
}

func stepChanges(old, now Step) []Change {
	name, noise := now.On+" "+now.Name+" ", max(old.Spread, now.Spread)
	first := change(name+"p50", "µs", old.Latency.P50, now.Latency.P50, noise, false)
	if now.Loop == Closed {
		first = change(name+"throughput", "decisions/s", old.PerSecond, now.PerSecond, noise, true)
	}
	all := []Change{first, change(name+"p99", "µs", old.Latency.P99, now.Latency.P99, max(old.TailSpread, now.TailSpread), false)}
	for i := range all {
		if now.On == onFloor && all[i].Verdict != Noise {
			all[i].Verdict = ByMachine
		}
	}
	return all
}

// change judges one number; noise is relative, and more says whether more is better.
func change(name, unit string, old, now, noise float64, more bool) Change {
	c := Change{Name: name, Unit: unit, Old: old, New: now, Noise: 100 * noise, Verdict: Noise}
	if old != 0 {
		c.Percent = 100 * (now - old) / math.Abs(old)
	}
	switch {
	case old == now || math.Abs(c.Percent) <= c.Noise:
	case (now > old) == more:
		c.Verdict = Better
	default:
		c.Verdict = Worse
	}
	return c
}

// WorseBy returns the changes for the worse that are beyond both noise and percent.
func WorseBy(changes []Change, percent float64) []Change {
	var all []Change
	for _, c := range changes {
		if c.Verdict == Worse && math.Abs(c.Percent) > percent {
			all = append(all, c)
		}
	}
	return all
}
