package chaos

import "fmt"

// Fallbacks judges M6: what is not decided by a home says so, is what the limit declares for that case, buys nothing with
// credit, and each process holds to its part of the limit (CHAOS §5; OWNERSHIP, bounds): who shares to that of one node, a home
// without a lease to half, and a deputy, which decides by its copy, to the limit. That an answer poses as a home's is what SingleHome
// finds. A limit that is open has no bound, and is counted.
func Fallbacks(h *History, rules []Limit) Result { return newStudy(h, rules).fallbacks() }

func (s *study) fallbacks() Result {
	out := Result{Invariant: "M6", Why: "nothing was decided by a fallback", Unit: "units"}
	open, some := 0, false
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Outcome != OK || (o.Kind != Check && o.Kind != Peek) || !byFallback(&o.Reply) {
			continue
		}
		some = true
		if o.Reply.Reason == "FALLBACK_OPEN" && o.Kind == Check {
			open++
		}
		if wrong := s.undeclared(o); wrong != "" {
			out.Status, out.Why, out.Excerpt = Refuted, fmt.Sprintf("%s answered %s for %s: %s", o.Reply.Home, o.Reply.Reason, o.Account, wrong), s.excerpt(int32(i))
			return out
		}
	}
	if !some {
		return out
	}
	var worst reading
	found := false
	for id, b := range s.buckets {
		l, known := s.limits[id.limit]
		if !known || l.Fallback != "share" || l.Roster == 0 {
			continue
		}
		for who, takes := range s.admitted(id.account, b) {
			what := fmt.Sprintf("%s by the %s of %s", id, who.footing, who.home)
			parts := map[footing]int{ofShare: l.Roster, ofHalf: 2, ofCopy: 1}[who.footing]
			g := l.gaugeOf(parts).ahead(s.jumps[who.home], float64(max(l.Limit.Limit, l.Burst)))
			if r, asked := g.measure(what, takes, nil); asked && (!found || r.margin() < worst.margin()) {
				worst, found = r, true
			}
		}
	}
	out.Status, out.Why = Held, ""
	if found {
		out = worst.result(s, out.Invariant)
	}
	if open > 0 {
		out.Why += fmt.Sprintf("; %d admitted by limits that are open", open)
	}
	return out
}

// undeclared returns what an answer of a fallback does that the limits it meets do not declare.
func (s *study) undeclared(o *Op) string {
	says := make(map[string]bool)
	for _, name := range s.met(o) {
		l, known := s.limits[name]
		if !known || l.Fallback == "" {
			return "" // not known
		}
		says[l.Fallback] = true
	}
	admits := o.Reply.Verdict == "ALLOW" || o.Reply.Verdict == "DEGRADE"
	for _, src := range o.Reply.Sources {
		if src.CreditsMicros != 0 {
			return "it spent credit"
		}
	}
	switch o.Reply.Reason {
	case "FALLBACK_OPEN":
		if len(says) > 0 && !says["open"] {
			return "none of its limits is open"
		}
	case "FALLBACK_SHARE", "FALLBACK_DEPUTY":
		if len(says) > 0 && !says["share"] {
			return "none of its limits shares"
		}
	case "FALLBACK_CLOSED":
		if admits {
			return "closed admits nothing"
		}
		return ""
	}
	if admits && says["closed"] {
		return "one of its limits is closed"
	}
	return ""
}

// footing is what a process decides by that is not the home, or has no lease.
type footing string

const (
	ofShare footing = "share"
	ofHalf  footing = "half" // of a home without a lease
	ofCopy  footing = "copy" // of a deputy
)

// stand is a process of a node, and what it decides by.
type stand struct {
	home string
	life int
	footing
}

// admitted returns what each process surely admitted of a bucket by each footing. Who answers for a deputy under an epoch under
// which it answered as home too, was the home.
func (s *study) admitted(account string, b *bucket) map[stand][]take {
	all := make(map[stand][]take)
	for _, at := range b.decisions {
		d := &s.decisions[at]
		o := &s.h.Ops[d.op]
		by := stand{home: o.Reply.Home}
		switch units := given(o); {
		case units <= 0 || d.again:
			continue
		case o.Reply.Reason == "FALLBACK_SHARE":
			by.footing = ofShare
		case o.Reply.Reason != "FALLBACK_DEPUTY":
			continue
		case s.run(account, &o.Reply) >= 0:
			by.footing = ofHalf
		default:
			by.footing = ofCopy
		}
		var sure bool
		if by.life, sure = s.life(by.home, d.from, d.until); sure {
			all[by] = append(all[by], take{from: d.from, until: d.until, units: float64(given(o)), op: d.op})
		}
	}
	return all
}
