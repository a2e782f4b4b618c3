package sim

import (
	"slices"
	"time"
)

// shortest is what shrinking makes no fault shorter than.
const shortest = 500 * time.Millisecond

// Shrink looks for a smaller schedule that still fails: with fewer steps, then fewer nodes and peers in each, then shorter
// faults, then less time before and after them. fails runs a schedule, more than once if it likes, since a run does not
// repeat exactly; it is asked at most so often. The schedule returned has failed.
func Shrink(s Schedule, fails func(Schedule) bool, runs int) Schedule {
	k := &shrinker{fails: fails, runs: runs, best: s}
	for again := true; again && k.runs > 0; {
		again = k.dropSteps()
		again = k.dropNames() || again
		again = k.shorten() || again
	}
	k.tighten()
	return k.best
}

type shrinker struct {
	fails func(Schedule) bool
	runs  int
	best  Schedule
}

// try keeps a schedule if it fails too.
func (k *shrinker) try(change func(*Schedule)) bool {
	if k.runs <= 0 {
		return false
	}
	s := k.best
	s.Steps = slices.Clone(s.Steps)
	change(&s)
	k.runs--
	if s.Validate() != nil || !k.fails(s) {
		return false
	}
	k.best = s
	return true
}

// dropSteps leaves out halves, quarters, and so on, down to single steps.
func (k *shrinker) dropSteps() (smaller bool) {
	for size := (len(k.best.Steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(k.best.Steps); {
			to := min(from+size, len(k.best.Steps))
			if k.try(func(s *Schedule) { s.Steps = slices.Delete(s.Steps, from, to) }) {
				smaller = true
				continue
			}
			from = to
		}
	}
	return smaller
}

func (k *shrinker) dropNames() (smaller bool) {
	without := func(names []string, i int) []string { return slices.Delete(slices.Clone(names), i, i+1) }
	for i := range k.best.Steps {
		for j := len(k.best.Steps[i].Nodes) - 1; j >= 0 && len(k.best.Steps[i].Nodes) > 1; j-- {
			smaller = k.try(func(s *Schedule) { s.Steps[i].Nodes = without(s.Steps[i].Nodes, j) }) || smaller
		}
		for j := len(k.best.Steps[i].Peers) - 1; j >= 0 && len(k.best.Steps[i].Peers) > 1; j-- {
			smaller = k.try(func(s *Schedule) { s.Steps[i].Peers = without(s.Steps[i].Peers, j) }) || smaller
		}
	}
	return smaller
}

func (k *shrinker) shorten() (smaller bool) {
	for i := range k.best.Steps {
		for k.best.Steps[i].For >= 2*shortest {
			if !k.try(func(s *Schedule) { s.Steps[i].For = (s.Steps[i].For / 2).Round(shortest / 5) }) {
				break
			}
			smaller = true
		}
	}
	return smaller
}

// tighten begins earlier and ends sooner.
func (k *shrinker) tighten() {
	if len(k.best.Steps) == 0 {
		return
	}
	if lead := k.best.Steps[0].At - drawFirst; lead > 0 {
		k.try(func(s *Schedule) {
			for i := range s.Steps {
				s.Steps[i].At -= lead
			}
			s.Safety -= lead
		})
	}
	var end time.Duration
	for _, t := range k.best.Steps {
		end = max(end, t.At+t.For)
	}
	if end += drawQuiet; end < k.best.Safety {
		k.try(func(s *Schedule) { s.Safety = end })
	}
	if k.best.Liveness > 0 {
		k.try(func(s *Schedule) { s.Liveness = 0 })
	}
}
