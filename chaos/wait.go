package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// waitRoom is what a wait may be short of: answers tell it in whole milliseconds.
const waitRoom = 2 * time.Millisecond

// waits judges who was refused and asked again after the wait that was told, and counts them. Only where nobody else can
// have taken anything from the same limits meanwhile, under one epoch, one policy and one home.
func (s *study) waits(out *Result) (judged int) {
	changes := s.changes()
	type asker struct{ account, limits string }
	last := make(map[asker]int32) // into s.decisions: the last refusal of a home
	takes := make(map[bucketID]*possible)
	for i := range s.decisions {
		d := &s.decisions[i]
		o := &s.h.Ops[d.op]
		if o.Kind != Check || len(o.Limits) == 0 {
			continue
		}
		at := asker{o.Account, strings.Join(o.Limits, " ")}
		told, known := last[at]
		if denied := o.Reply.Verdict == "DENY" && o.Reply.Reason == "RATE_LIMITED" && byHome(&o.Reply) && !d.again; denied {
			last[at] = int32(i)
			if known && s.waited(&s.decisions[told], d, changes) && s.alone(takes, &s.decisions[told], d) {
				judged++
				p := &s.h.Ops[s.decisions[told].op]
				out.against(s.excerpt(s.decisions[told].op, d.op), fmt.Sprintf("%s/%v: told to wait %s, refused %s later though nobody else asked",
					o.Account, o.Limits, p.Reply.RetryAfter, o.Invoked-p.Returned))
			}
		} else if known && o.Reply.Verdict == "ALLOW" {
			if s.waited(&s.decisions[told], d, changes) {
				judged++
			}
			delete(last, at)
		}
	}
	return judged
}

// waited says whether d asks again what was refused, after the wait, of the same home under the same terms.
func (s *study) waited(refused, d *decision, changes []take) bool {
	a, b := &s.h.Ops[refused.op], &s.h.Ops[d.op]
	wait := time.Duration(float64(a.Reply.RetryAfter)*(1+drift)) + waitRoom
	same := a.Reply.Home == b.Reply.Home && a.Reply.Epoch == b.Reply.Epoch && a.Reply.PolicyVersion == b.Reply.PolicyVersion && b.Cost <= a.Cost
	if a.Reply.RetryAfter <= 0 || !same || d.again || b.Invoked < a.Returned+wait {
		return false
	}
	return !slices.ContainsFunc(changes, func(c take) bool { return c.from <= b.Returned && c.until >= a.Invoked })
}

// changes returns when the policy, or what holds for an account beside it, may have changed.
func (s *study) changes() (all []take) {
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if (o.Kind != Policy && o.Kind != Override) || o.Outcome == Failed {
			continue
		}
		until := forever
		if o.Outcome == OK {
			until = o.Returned + changeSettles
		}
		all = append(all, take{from: o.Invoked, until: until})
	}
	return all
}

// changeSettles is how long a node may take to learn of a change.
const changeSettles = 5 * time.Second

// alone says whether nobody else can have taken from the limits between a refusal and a later question.
func (s *study) alone(takes map[bucketID]*possible, refused, d *decision) bool {
	o := &s.h.Ops[d.op]
	for _, name := range o.Limits {
		id := bucketID{o.Account, name}
		if takes[id] == nil {
			takes[id] = s.mayTake(id, s.buckets[id])
		}
		if takes[id].count(refused.from, d.until) > 0 {
			return false
		}
	}
	return len(s.jumps) == 0
}

// repetitions judges that the answers to one key are one decision, as long as one process was home throughout.
func (s *study) repetitions(out *Result) {
	type memory struct {
		attempt
		home  string
		life  int
		epoch uint64
	}
	first := make(map[memory]int32)
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Kind != Check || o.Key == "" || o.Outcome != OK || !byHome(&o.Reply) || o.Reply.Decision == "" || o.Reply.Reason == "LEDGER_UNAVAILABLE" { // which is asked again
			continue
		}
		life, sure := s.life(o.Reply.Home, o.Invoked, o.Returned)
		if !sure {
			continue
		}
		at := memory{attempt{o.Account, o.Key}, o.Reply.Home, life, o.Reply.Epoch}
		f, known := first[at]
		if !known {
			first[at] = int32(i)
			continue
		}
		if p := &s.h.Ops[f]; p.Reply.Decision != o.Reply.Decision {
			out.against(s.excerpt(f, int32(i)), fmt.Sprintf("%s: key %s was decided twice by %s under epoch %d", o.Account, o.Key, o.Reply.Home, o.Reply.Epoch))
		}
	}
}
