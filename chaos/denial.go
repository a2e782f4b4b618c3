package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Goodput judges M2: no home refuses what the limit surely had. A refusal is compared with all that may have been taken
// before it, each as late as possible, and with a start with nothing under that epoch. That every refusal is justified is
// stricter than CHAOS §5's share of the offered load, and needs no time without faults; so it holds after convergence too.
func Goodput(h *History, rules []Limit) Result { return newStudy(h, rules).goodput() }

func (s *study) goodput() Result {
	out := Result{Invariant: "M2", Why: "no refusal could be judged", Unit: "unjustified refusals"}
	judged := 0
	for id, b := range s.buckets {
		l, known := s.limits[id.limit]
		if !known || !slices.Contains([]string{"token_bucket", "fixed_window", "sliding_window", "rolling_log"}, l.Algorithm) {
			continue
		}
		var may *possible
		for _, at := range b.decisions {
			d := &s.decisions[at]
			size, refused := s.refusal(d, id.limit, l)
			if !refused {
				continue
			}
			if may == nil {
				may = s.mayTake(id, b)
			}
			o := &s.h.Ops[d.op]
			need := float64(size - o.Cost) // it must have held more than this
			since, warm := s.warm(id.account, o, l)
			if size < o.Cost || !warm {
				continue
			}
			judged++
			var most float64
			if l.Algorithm == "token_bucket" {
				most = may.debt(since, d, l.slowest*(1-2*drift), float64(max(l.Burst, size)))
			} else {
				most = may.count(d.from-l.memory(), d.until)
			}
			if most <= need-rounding {
				out.against(s.excerpt(d.op), fmt.Sprintf("%s: %s refused %d though at most %.2f of %d can have been taken", id, o.Reply.Home, o.Cost, most, size))
			}
		}
	}
	if judged > 0 && out.Status == Inconclusive {
		out.Status, out.Why = Held, fmt.Sprintf("%d refusals were judged", judged)
	}
	return out
}

// memory is how long a limit that counts can know of a take.
func (b bounds) memory() time.Duration {
	w := time.Duration(float64(b.Window) * (1 + 2*drift))
	if b.Algorithm != "rolling_log" && b.inherits() {
		w += b.Skew // a copy of a window ends when the window did by the clock of the home before
	}
	if b.Algorithm == "sliding_window" {
		return 2 * w
	}
	return w
}

// refusal says whether a decision is the refusal of a home by a limit, and how much the limit then held at most.
func (s *study) refusal(d *decision, limit string, l bounds) (size int64, is bool) {
	o := &s.h.Ops[d.op]
	if d.again || o.Reply.Verdict != "DENY" || !byHome(&o.Reply) || o.Reply.Reason != "RATE_LIMITED" {
		return 0, false
	}
	for _, r := range o.Reply.Limits {
		if r.Name != limit || !r.Refused {
			continue
		}
		size = r.Limit
		if r.Capacity > 0 {
			size = r.Capacity
		}
		return size, size > 0
	}
	return 0, false
}

// warm returns since when the home of an answer surely was home under its epoch. What a limit that counts was then is
// forgotten by the time of the answer, or nothing can be said.
func (s *study) warm(account string, o *Op, l bounds) (since time.Duration, is bool) {
	for _, g := range s.reigns[account] {
		if g.epoch == o.Reply.Epoch && g.home == o.Reply.Home {
			counts := l.Algorithm != "token_bucket"
			return g.first, len(s.jumps[g.home]) == 0 && o.Invoked > g.first && (!counts || o.Invoked-g.first > l.memory())
		}
	}
	return 0, false
}

// possible is all that may have been taken from a bucket, for sums over time.
type possible struct {
	byFrom, byUntil []take
	sumFrom         []float64 // of the units of byFrom up to each
	sumUntil        []float64
	owed            []float64 // by a token bucket, at most, after each of byUntil since it owed size at since
	since           time.Duration
	size            float64
}

// mayTake returns every take that may have been from a bucket: also those of unknown outcome, and what a limit gave for a moment
// to a request that was refused in the end. Whoever waited in vain for the home takes nothing back: it may still have been
// heard, and so may the deputy that asked the home for it. What a deputy admitted itself it tells the home later, on top.
func (s *study) mayTake(id bucketID, b *bucket) *possible {
	m := &possible{}
	may := func(from, until time.Duration, units int64, op int32, above bool) {
		if units > 0 {
			m.byFrom = append(m.byFrom, take{from, until, float64(units), op, above})
		}
	}
	for _, at := range b.decisions {
		d := &s.decisions[at]
		o := &s.h.Ops[d.op]
		units := given(o)
		if r := o.Reply.Reason; r == "CREDITS_EXHAUSTED" || r == "LEDGER_UNAVAILABLE" {
			units = o.Cost
		}
		switch {
		case o.Kind == Check && byFallback(&o.Reply):
			until := s.heard(id.account, d)
			may(d.from, until, 2*o.Cost, d.op, false)
			if o.Reply.Reason == "FALLBACK_DEPUTY" {
				may(d.from, until, units, d.op, true)
			}
		default:
			may(d.from, d.until, units, d.op, false)
			if o.Kind == Check && o.Node != o.Reply.Home && o.Returned-o.Invoked >= inVain {
				may(d.from, s.heard(id.account, d), o.Cost, d.op, false)
			}
		}
	}
	for _, i := range b.doubts {
		o := &s.h.Ops[i]
		may(o.Invoked, forever, 2*o.Cost, i, false)
		if s.limits[id.limit].Fallback == "share" {
			may(o.Invoked, forever, o.Cost, i, true)
		}
	}
	m.byUntil = slices.Clone(m.byFrom)
	slices.SortFunc(m.byFrom, func(a, b take) int { return cmp.Compare(a.from, b.from) })
	slices.SortFunc(m.byUntil, func(a, b take) int { return cmp.Compare(a.until, b.until) })
	m.sumFrom, m.sumUntil = sums(m.byFrom), sums(m.byUntil)
	return m
}

const (
	// tellsWithin is how soon every home knows what was asked of it in vain or taken for it, once no fault is in the way.
	tellsWithin = 10 * time.Second
	// inVain is less than any node waits for another before it asks elsewhere.
	inVain = 45 * time.Millisecond
)

// heard returns until when the homes of an account may hear of what a fallback decided for it.
func (s *study) heard(account string, d *decision) time.Duration {
	o := &s.h.Ops[d.op]
	nodes := []string{o.Node, o.Reply.Home}
	for _, g := range s.reigns[account] {
		if g.last >= d.from {
			nodes = append(nodes, g.home)
		}
	}
	return s.calm(d.until, tellsWithin, nodes)
}

// sums returns the sum of the units before each take, and of all.
func sums(takes []take) []float64 {
	all := make([]float64, len(takes)+1)
	for i, k := range takes {
		all[i+1] = all[i] + k.units
	}
	return all
}

// begun returns what may have been taken up to a moment.
func (m *possible) begun(t time.Duration) float64 {
	i, _ := slices.BinarySearchFunc(m.byFrom, t+1, func(k take, t time.Duration) int { return cmp.Compare(k.from, t) })
	return m.sumFrom[i]
}

// ended returns how many takes surely were before a moment.
func (m *possible) ended(t time.Duration) int {
	i, _ := slices.BinarySearchFunc(m.byUntil, t, func(k take, t time.Duration) int { return cmp.Compare(k.until, t) })
	return i
}

// count returns the most that can have been taken from one moment to another.
func (m *possible) count(from, until time.Duration) float64 {
	return m.begun(until) - m.sumUntil[m.ended(from)]
}

// debt returns the most that a token bucket can owe while it decides, having owed all of its size at a moment before, or what
// the home before that can have owed.
func (m *possible) debt(since time.Duration, d *decision, rate, size float64) float64 {
	if m.owed == nil || m.since != since || m.size != size {
		m.replay(since, rate, size)
	}
	n := m.ended(d.from)
	return min(size, m.faded(n, d.from, rate)+m.begun(d.until)-m.sumUntil[n])
}

// replay fills in what may be owed after each take. What is told of later may bring it above the size.
func (m *possible) replay(since time.Duration, rate, size float64) {
	m.since, m.size, m.owed = since, size, make([]float64, len(m.byUntil)+1)
	first, owed, last := m.ended(since), 0.0, time.Duration(0)
	for i := 0; i <= len(m.byUntil); i++ {
		if i == first {
			owed, last = max(size, fade(owed, last, since, rate)), since
		}
		m.owed[i] = owed
		if i == len(m.byUntil) {
			break
		}
		k := &m.byUntil[i]
		owed, last = fade(owed, last, k.until, rate), k.until
		if k.above {
			owed += k.units
		} else {
			owed = max(owed, min(size, owed+k.units))
		}
	}
}

// fade returns what is left of a debt after some time.
func fade(owed float64, from, to time.Duration, rate float64) float64 {
	return max(0, owed-rate*(to-from).Seconds())
}

// faded returns what is owed at a moment after so many takes and before the next.
func (m *possible) faded(takes int, at time.Duration, rate float64) float64 {
	last := m.since
	if takes > 0 {
		last = max(last, m.byUntil[takes-1].until)
	}
	return fade(m.owed[takes], last, at, rate)
}

// HonestReplies judges M5: what is left is never below nothing nor more than all, a limit that refuses has less left than was
// asked, and who waits as long as told, while nobody else asks, is admitted (CHAOS §5). Repeating a check with its key gets the same
// decision, as long as the home stays the same.
func HonestReplies(h *History, rules []Limit) Result { return newStudy(h, rules).honestReplies() }

func (s *study) honestReplies() Result {
	out := Result{Invariant: "M5", Why: "nothing was decided", Unit: "dishonest replies"}
	for i := range s.decisions {
		d := &s.decisions[i]
		o := &s.h.Ops[d.op]
		if out.Status == Inconclusive {
			out.Status, out.Why = Held, ""
		}
		for _, l := range o.Reply.Limits {
			switch {
			case l.Remaining < 0:
				out.against(s.excerpt(d.op), fmt.Sprintf("%s/%s: %d are left", o.Account, l.Name, l.Remaining))
			case l.Remaining > max(l.Limit, l.Capacity):
				out.against(s.excerpt(d.op), fmt.Sprintf("%s/%s: %d are left of %d", o.Account, l.Name, l.Remaining, max(l.Limit, l.Capacity)))
			case l.Refused && o.Reply.Verdict == "DENY" && l.Remaining >= o.Cost && o.Cost > 0:
				out.against(s.excerpt(d.op), fmt.Sprintf("%s/%s: refused %d though %d are left", o.Account, l.Name, o.Cost, l.Remaining))
			}
		}
	}
	judged := s.waits(&out)
	s.repetitions(&out)
	if out.Status == Held {
		out.Why = fmt.Sprintf("%d waits were judged", judged)
	}
	return out
}
