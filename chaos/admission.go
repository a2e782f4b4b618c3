package chaos

import "fmt"

// OverAdmission judges M1: what a limit admits at its homes stays below its bound over every interval. It is the exact meter of
// the effective burst (CHAOS §5): admitted less what the rate earns, at its worst, each admission counted only where it surely
// happened, so that what is reported is a lower bound.
//
// Each home holds a bucket of its own to the limit, as long as it surely is the same process and home without a break. All
// homes together hold to it too, since there is one at a time: strictly where a new one starts with nothing left (a token
// bucket of `takeover: empty`), and but for what a change of home may lose where it goes on with a copy (see losses). Where it
// starts fresh, each start adds the limit once more, and what each home holds to is all there is to say.
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
	for id, b := range s.buckets {
		l, known := s.limits[id.limit]
		if !known {
			continue
		}
		count := float64(max(l.Limit.Limit, l.Burst))
		takes, tenures := s.takes(id, b)
		for t, takes := range tenures {
			r, asked := l.gaugeOf(1).ahead(s.jumps[t.home], count).measure(fmt.Sprintf("%s at %s", id, t.home), takes, nil)
			keep(&one, r, asked)
		}
		if !l.inherits() || len(takes) == 0 {
			continue
		}
		g := l.gaugeOf(1)
		for _, jumps := range s.jumps {
			g = g.ahead(jumps, count)
		}
		r, asked := g.measure(id.String()+" at all homes", takes, s.losses(id.account, l, takes))
		keep(&all, r, asked)
	}
	switch {
	case len(one)+len(all) == 0:
		return out
	case len(all) == 0 || len(one) > 0 && (one[0].margin() < -rounding || one[0].margin() <= all[0].margin()):
		return one[0].result(s, out.Invariant) // what one home did wrong is plainest
	}
	return all[0].result(s, out.Invariant)
}

// inherits says whether a new home admits no more than the one before would have, but for losses.
func (b bounds) inherits() bool {
	switch b.Takeover {
	case "copy", "empty":
		return true
	}
	return b.Takeover == "" && b.Algorithm == "token_bucket"
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
		k := take{from: d.from, until: d.until, units: float64(units), op: d.op}
		all = append(all, k)
		if life, sure := s.life(o.Reply.Home, d.from, d.until); sure && !d.again {
			t := tenure{o.Reply.Home, life, s.run(id.account, &o.Reply)}
			tenures[t] = append(tenures[t], k)
		}
	}
	return all, tenures
}
