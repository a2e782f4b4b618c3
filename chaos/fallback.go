package chaos

import "fmt"

// Fallbacks judges M6: what is not decided by a home says so, is what the limit declares for that case, buys nothing with
// credit, and each process that shares holds to its part of the limit (CHAOS §5). That an answer poses as a home's is what
// SingleHome finds. A limit that is open has no bound, and is counted.
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
		for by, takes := range s.shares(b) {
			what := fmt.Sprintf("%s by the share of %s", id, by.home)
			g := l.gaugeOf(l.Roster).ahead(s.jumps[by.home], float64(max(l.Limit.Limit, l.Burst)))
			if r, asked := g.measure(what, takes, seconds); asked && (!found || r.margin() < worst.margin()) {
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
	case "FALLBACK_SHARE":
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

// shares returns what each process surely admitted from its share of a bucket.
func (s *study) shares(b *bucket) map[tenure][]take {
	all := make(map[tenure][]take)
	for _, at := range b.decisions {
		d := &s.decisions[at]
		o := &s.h.Ops[d.op]
		units := given(o)
		if units <= 0 || o.Reply.Reason != "FALLBACK_SHARE" || d.again {
			continue
		}
		if life, sure := s.life(o.Reply.Home, d.from, d.until); sure {
			by := tenure{o.Reply.Home, life, 0}
			all[by] = append(all[by], take{d.from, d.until, float64(units), d.op})
		}
	}
	return all
}
