package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// OverAdmission judges M1: what a limit admits stays below its bound over every interval. It is the exact meter of the
// effective burst (CHAOS §5): admitted less what the rate earns, at its worst, each admission counted only where it surely
// happened, so that what is reported is a lower bound.
//
// Each home holds a bucket of its own to the limit, as long as it surely is the same process and home without a break.
// Where a new home starts with nothing (a token bucket) or with what the last one knew, all homes together hold to it, but
// for the rate of as many as could be active at once, and for what each of these holds when an interval begins. Where it
// starts fresh, each start adds the limit once more, and the sum of what each holds to is all there is to say.
func OverAdmission(h *History, rules []Limit) Result { return newStudy(h, rules).overAdmission() }

func (s *study) overAdmission() Result {
	out := Result{Invariant: "M1", Why: "nothing was admitted by a home"}
	var one, all []reading
	keep := func(to *[]reading, r reading, asked bool) {
		switch {
		case !asked:
		case len(*to) == 0:
			*to = []reading{r}
		case r.margin() < (*to)[0].margin():
			(*to)[0] = r
		}
	}
	warps := make(map[string]clock)
	for id, b := range s.buckets {
		l, known := s.limits[id.limit]
		if !known {
			continue
		}
		count := float64(max(l.Limit.Limit, l.Burst))
		takes, tenures := s.takes(id, b)
		for t, takes := range tenures {
			r, asked := l.gaugeOf(1).ahead(s.jumps[t.home], count).measure(fmt.Sprintf("%s at %s", id, t.home), takes, seconds)
			keep(&one, r, asked)
		}
		if l.inherits() && len(takes) > 0 {
			if warps[id.account] == nil {
				warps[id.account] = s.warp(id.account)
			}
			g := l.gaugeOf(1)
			for _, jumps := range s.jumps {
				g = g.ahead(jumps, count)
			}
			r, asked := g.measure(id.String()+" at all homes", takes, warps[id.account])
			keep(&all, r, asked)
		}
	}
	switch {
	case len(one)+len(all) == 0:
		return out
	case len(all) == 0 || len(one) > 0 && (one[0].margin() < -rounding || one[0].margin() <= all[0].margin()):
		return one[0].result(s, out.Invariant) // what one home did wrong is plainest
	}
	return all[0].result(s, out.Invariant)
}

// inherits says whether a new home admits no more than the one before would have.
func (b bounds) inherits() bool {
	return b.Takeover == "copy" || b.Algorithm == "token_bucket" && b.Takeover != "fresh"
}

// tenure is a process of a node, as home of an account without a break.
type tenure struct {
	home      string
	life, run int
}

// takes returns what homes admitted from a bucket: all of it, and what surely was of one tenure.
func (s *study) takes(id bucketID, b *bucket) (all []take, tenures map[tenure][]take) {
	tenures = make(map[tenure][]take)
	for _, at := range b.decisions {
		d := &s.decisions[at]
		o := &s.h.Ops[d.op]
		units := given(o)
		if units <= 0 || !byHome(&o.Reply) {
			continue
		}
		k := take{d.from, d.until, float64(units), d.op}
		all = append(all, k)
		if life, sure := s.life(o.Reply.Home, d.from, d.until); sure && !d.again {
			t := tenure{o.Reply.Home, life, s.run(id.account, &o.Reply)}
			tenures[t] = append(tenures[t], k)
		}
	}
	return all, tenures
}

// warp returns the clock of all homes of an account: one may be active from the last moment at which it surely was not yet,
// until it last was.
func (s *study) warp(account string) clock {
	type turn struct {
		at   time.Duration
		more int
	}
	var turns []turn
	rs := s.reigns[account]
	for i := 0; i < len(rs); {
		j, from, until := i, forever, time.Duration(0)
		for ; j < len(rs) && rs[j].run == rs[i].run; j++ {
			from, until = min(from, s.notYet(rs[j])), max(until, rs[j].last)
		}
		turns = append(turns, turn{from, 1}, turn{until, -1})
		i = j
	}
	if len(turns) <= 2 {
		return seconds
	}
	slices.SortFunc(turns, func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	type mark struct {
		at    time.Duration
		shown float64
		homes int
	}
	marks := []mark{{0, 0, 1}}
	homes := 0
	for _, t := range turns {
		last := marks[len(marks)-1]
		homes += t.more
		marks = append(marks, mark{t.at, last.shown + float64(last.homes)*(t.at-last.at).Seconds(), max(homes, 1)})
	}
	return func(t time.Duration) (earned float64, active int) {
		i, _ := slices.BinarySearchFunc(marks, t, func(m mark, t time.Duration) int {
			if m.at <= t {
				return -1
			}
			return 1
		})
		m := marks[max(i-1, 0)]
		return m.shown + float64(m.homes)*(t-m.at).Seconds(), m.homes
	}
}

// notYet returns a moment at which the home of a reign surely had not begun it: it was of an older epoch still, or its
// process was not there.
func (s *study) notYet(r reign) (t time.Duration) {
	starts := s.starts[r.home]
	if n := upTo(starts, r.asked); n > 0 {
		t = starts[n-1]
	}
	for epoch, asked := range s.behind[r.home] {
		if epoch < r.epoch && asked <= r.first {
			t = max(t, asked)
		}
	}
	return t
}
