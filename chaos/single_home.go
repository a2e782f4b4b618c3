package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// SingleHome judges M3: no two nodes decide as home of one account at overlapping times, and never two under one epoch
// (CHAOS §5; OWNERSHIP's leases are there for it). Observed is the longest time for which an old home surely still
// decided after a newer one had: the answer that came under a newer epoch was there before the question was asked that a
// node of an older one answered.
func SingleHome(h *History) Result { return newStudy(h, nil).singleHome() }

// crown is the newest epoch under which a home is known to have answered an account, and since when.
type crown struct {
	home  string
	epoch uint64
	at    time.Duration // when that was answered
	op    int32
}

func (s *study) singleHome() Result {
	out := Result{Invariant: "M3", Why: "no home decided anything", Unit: "s of two homes"}
	var asked []decision // once each: a home that repeats what it decided before decides nothing
	for _, d := range s.decisions {
		if byHome(&s.h.Ops[d.op].Reply) {
			asked = append(asked, d)
		}
	}
	if len(asked) == 0 {
		return out
	}
	out.Status, out.Why = Held, ""
	slices.SortStableFunc(asked, func(a, b decision) int { return cmp.Compare(a.from, b.from) })
	answered := slices.Clone(asked)
	slices.SortStableFunc(answered, func(a, b decision) int { return cmp.Compare(a.until, b.until) })
	crowns := make(map[string][]crown) // of each account, one of each home
	said := make(map[place]int32)      // who answered under an epoch
	next := 0
	for _, d := range asked {
		i, o := d.op, &s.h.Ops[d.op]
		for ; next < len(answered) && answered[next].until < d.from; next++ {
			s.crown(crowns, answered[next])
		}
		at := place{o.Account, o.Reply.Epoch}
		if other, known := said[at]; !known {
			said[at] = i
		} else if p := &s.h.Ops[other]; p.Reply.Home != o.Reply.Home && out.Status != Refuted {
			out.Status, out.Excerpt = Refuted, s.excerpt(other, i)
			out.Why = fmt.Sprintf("%s and %s both decided for %s as home under epoch %d", p.Reply.Home, o.Reply.Home, o.Account, o.Reply.Epoch)
		}
		for _, c := range crowns[o.Account] {
			over := (d.from - c.at).Seconds()
			if c.home == o.Reply.Home || c.epoch <= o.Reply.Epoch || over <= out.Observed {
				continue
			}
			out.Status, out.Observed, out.Excerpt = Refuted, over, s.excerpt(c.op, i)
			out.Why = fmt.Sprintf("%s still decided for %s as home under epoch %d, %.3f s after %s had under epoch %d",
				o.Reply.Home, o.Account, o.Reply.Epoch, over, c.home, c.epoch)
		}
	}
	out.Margin = -out.Observed
	return out
}

// place is an account under an epoch.
type place struct {
	account string
	epoch   uint64
}

// crown notes an answer of a home. Of answers under one epoch the first counts.
func (s *study) crown(crowns map[string][]crown, d decision) {
	i, o := d.op, &s.h.Ops[d.op]
	cs := crowns[o.Account]
	for k := range cs {
		if cs[k].home == o.Reply.Home {
			if o.Reply.Epoch > cs[k].epoch {
				cs[k] = crown{o.Reply.Home, o.Reply.Epoch, d.until, i}
			}
			return
		}
	}
	crowns[o.Account] = append(cs, crown{o.Reply.Home, o.Reply.Epoch, d.until, i})
}

// EpochAgreement judges M4: the epoch of a node's view never goes back while its process lives, and at the end all nodes
// are of one epoch (CHAOS §5, there called ring agreement). Observed is the largest difference of the last epochs.
func EpochAgreement(h *History) Result { return newStudy(h, nil).epochAgreement() }

func (s *study) epochAgreement() Result {
	out := Result{Invariant: "M4", Why: "no node's view was looked at", Unit: "epochs apart"}
	looks := make(map[string][]int32)
	last := make(map[string]int32)
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Outcome != OK || o.Reply.Epoch == 0 {
			continue
		}
		switch node := o.Reply.Home; {
		case o.Kind == View:
			if from, until := s.audit(); o.Invoked >= from && o.Returned <= until && from > 0 {
				last[o.Node] = int32(i)
			}
			looks[o.Node] = append(looks[o.Node], int32(i))
		case (o.Kind == Check || o.Kind == Peek) && node != "":
			looks[node] = append(looks[node], int32(i))
		}
	}
	if len(looks) == 0 {
		return out
	}
	out.Status, out.Why = Held, ""
	for node, ops := range looks {
		if a, b, back := s.backwards(node, ops); back {
			out.Status, out.Excerpt = Refuted, s.excerpt(a, b)
			out.Why = fmt.Sprintf("%s went back from epoch %d to %d", node, s.h.Ops[a].Reply.Epoch, s.h.Ops[b].Reply.Epoch)
			return out
		}
	}
	s.agreeAtLast(last, &out)
	return out
}

// audit returns when the audit at the end of a run began, and until when nothing else was done to any node; zero when there
// was none.
func (s *study) audit() (from, until time.Duration) {
	until = forever
	for _, e := range s.h.Events {
		switch {
		case e.What == "phase" && e.Detail == "audit":
			from = e.At
		case from > 0 && (e.What == "crash" || e.What == "start" || e.What == "stop"):
			return from, e.At
		}
	}
	return from, until
}

// backwards returns two answers of one process of which the later one is of an older epoch.
func (s *study) backwards(node string, asked []int32) (before, after int32, back bool) {
	answered := slices.Clone(asked)
	slices.SortStableFunc(answered, func(a, b int32) int { return cmp.Compare(s.h.Ops[a].Returned, s.h.Ops[b].Returned) })
	newest := make(map[int]int32) // by life
	next := 0
	for _, i := range asked {
		o := &s.h.Ops[i]
		for ; next < len(answered) && s.h.Ops[answered[next]].Returned < o.Invoked; next++ {
			p := &s.h.Ops[answered[next]]
			if life, sure := s.life(node, p.Invoked, p.Returned); sure {
				if n, known := newest[life]; !known || p.Reply.Epoch > s.h.Ops[n].Reply.Epoch {
					newest[life] = answered[next]
				}
			}
		}
		if life, sure := s.life(node, o.Invoked, o.Returned); sure {
			if n, known := newest[life]; known && s.h.Ops[n].Reply.Epoch > o.Reply.Epoch {
				return n, i, true
			}
		}
	}
	return 0, 0, false
}

// agreeAtLast compares what each node said when it was last looked at, in the audit that ends a run.
func (s *study) agreeAtLast(last map[string]int32, out *Result) {
	if since, _ := s.audit(); since == 0 {
		out.Status, out.Why = Inconclusive, "no epoch went back, but there was no audit at the end"
		return
	}
	low, high := int32(-1), int32(-1)
	for _, i := range last {
		if low < 0 || s.h.Ops[i].Reply.Epoch < s.h.Ops[low].Reply.Epoch {
			low = i
		}
		if high < 0 || s.h.Ops[i].Reply.Epoch > s.h.Ops[high].Reply.Epoch {
			high = i
		}
	}
	if low < 0 {
		out.Status, out.Why = Inconclusive, "no epoch went back, but no node was looked at in the audit"
		return
	}
	a, b := &s.h.Ops[low], &s.h.Ops[high]
	out.Observed = float64(b.Reply.Epoch - a.Reply.Epoch)
	out.Margin = -out.Observed
	if out.Observed > 0 {
		out.Status, out.Excerpt = Refuted, s.excerpt(low, high)
		out.Why = fmt.Sprintf("in the end %s was at epoch %d and %s at %d", a.Node, a.Reply.Epoch, b.Node, b.Reply.Epoch)
	}
}
