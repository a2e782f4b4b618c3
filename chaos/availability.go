package chaos

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Targets are what availability is judged by. What has no target is only measured: its result holds, and says so.
type Targets struct {
	Answered float64       // A1: of the checks outside of faults, the part that is decided by a home
	P99      time.Duration // A2: of the checks outside of faults, from when they should have been sent
	Detect   time.Duration // A3: from a fault to the first change of a view or a leader
	Converge time.Duration // A4: from the last heal until all nodes say the same
	Debit    time.Duration // A5: the longest without a grant or debit done while one was asked
}

// DefaultTargets holds to what must hold wherever nodes run: that a cluster becomes one again, and by itself.
func DefaultTargets() Targets { return Targets{Converge: time.Minute} }

const (
	// flaps is how many faults of one node may have it held down, and heldDown how much later the cluster is whole then: nodes
	// let one that flapped in again when they have seen it for a minute.
	flaps    = 3
	heldDown = 30 * time.Second
)

// flapped says whether a node may have been held down.
func (s *study) flapped() bool {
	of := make(map[string]int)
	for _, f := range s.h.Faults {
		for _, n := range f.Nodes {
			if of[n]++; of[n] >= flaps {
				return true
			}
		}
	}
	return false
}

// settle is how long after a fault its effects count as the fault's.
const settle = 10 * time.Second

// Availability judges A1 to A6 (CHAOS §5): the part of checks that homes decided, how long they took, how soon a fault was
// seen, how soon the nodes were one again, the longest without a write to the ledger, and that nobody helped.
func Availability(h *History, t Targets) []Result { return newStudy(h, nil).availability(t) }

func (s *study) availability(t Targets) []Result {
	return []Result{s.answered(t), s.latency(t), s.detection(t), s.convergence(t), s.writing(t), s.unaided()}
}

// troubled says whether an operation met a fault, or what is left of one.
func (s *study) troubled(o *Op) bool {
	until := o.Returned
	if until < o.Invoked {
		until = o.Invoked
	}
	return slices.ContainsFunc(s.h.Faults, func(f Fault) bool {
		return f.From <= until && (f.Until < 0 || f.Until+settle >= o.Invoked)
	})
}

// answered is A1.
func (s *study) answered(t Targets) Result {
	out := Result{Invariant: "A1", Why: "nothing was checked outside of faults", Unit: "of checks", Bound: t.Answered}
	var calm, faulty [3]int // decided by a home, by a fallback, not
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Kind != Check {
			continue
		}
		n := &calm
		if s.troubled(o) {
			n = &faulty
		}
		switch {
		case o.Outcome != OK:
			n[2]++
		case byFallback(&o.Reply):
			n[1]++
		default:
			n[0]++
		}
	}
	all := calm[0] + calm[1] + calm[2]
	if all == 0 {
		return out
	}
	out.Observed = float64(calm[0]) / float64(all)
	out.least(t.Answered > 0)
	out.Why += fmt.Sprintf("without faults %d decided, %d by fallback, %d not; during faults %d, %d, %d", calm[0], calm[1], calm[2], faulty[0], faulty[1], faulty[2])
	return out
}

// least judges what must be no less than its bound, most what must be no more.
func (r *Result) least(asked bool) {
	r.judge(asked, r.Observed-r.Bound)
}

func (r *Result) most(asked bool) {
	r.judge(asked, r.Bound-r.Observed)
}

func (r *Result) judge(asked bool, margin float64) {
	r.Status, r.Why = Held, ""
	switch {
	case !asked:
		r.Bound, r.Why = r.Observed, "measured only; "
	case margin < 0:
		r.Status, r.Margin = Refuted, margin
	default:
		r.Margin = margin
	}
}

// latency is A2.
func (s *study) latency(t Targets) Result {
	out := Result{Invariant: "A2", Why: "nothing was checked outside of faults", Unit: "s at the 99th percentile", Bound: t.P99.Seconds()}
	var took []time.Duration
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Kind != Check || o.Outcome != OK || s.troubled(o) {
			continue
		}
		from := o.Invoked
		if o.Intended > 0 {
			from = min(from, o.Intended)
		}
		took = append(took, o.Returned-from)
	}
	if len(took) == 0 {
		return out
	}
	slices.Sort(took)
	at := func(part float64) time.Duration { return took[int(math.Ceil(part*float64(len(took))))-1] }
	out.Observed = at(0.99).Seconds()
	out.most(t.P99 > 0)
	out.Why += fmt.Sprintf("p50 %s, p99 %s, p99.9 %s of %d", at(0.5), at(0.99), at(0.999), len(took))
	return out
}

// detection is A3.
func (s *study) detection(t Targets) Result {
	out := Result{Invariant: "A3", Why: "no fault was followed by a change of a view or a leader", Unit: "s", Bound: t.Detect.Seconds()}
	faults := slices.SortedFunc(slices.Values(s.h.Faults), func(a, b Fault) int { return cmp.Compare(a.From, b.From) })
	if len(faults) == 0 {
		return out
	}
	from := faults[0].From
	first, last, nodes := time.Duration(-1), time.Duration(0), make(map[string]bool)
	for _, e := range s.h.Events {
		if (e.What != "epoch" && e.What != "leader") || e.At < from || nodes[e.Node] {
			continue
		}
		nodes[e.Node] = true
		if first < 0 {
			first = e.At - from
		}
		last = e.At - from
	}
	if first < 0 {
		return out
	}
	out.Observed = first.Seconds()
	out.most(t.Detect > 0)
	out.Why += fmt.Sprintf("%d nodes saw a change, the first %s and the last %s after the first fault", len(nodes), first, last)
	return out
}

// convergence is A4: when, after the last heal, the last difference between what the nodes said was seen.
func (s *study) convergence(t Targets) Result {
	if s.flapped() && t.Converge > 0 {
		t.Converge += heldDown
	}
	out := Result{Invariant: "A4", Why: "no node's view was looked at after the last heal", Unit: "s", Bound: t.Converge.Seconds()}
	healed, ok := s.healed()
	if !ok {
		out.Why = "no fault was healed"
		return out
	}
	type view struct {
		epoch  uint64
		leader string
	}
	said := make(map[string]view)
	looks, agreed, last := 0, time.Duration(-1), time.Duration(0)
	_, until := s.audit()
	events := s.h.Events
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if o.Kind != View || o.Outcome != OK || o.Invoked < healed || o.Returned > until {
			continue
		}
		for ; len(events) > 0 && events[0].At <= o.Invoked; events = events[1:] {
			if e := events[0]; e.What == "crash" || e.What == "stop" || e.What == "start" {
				delete(said, e.Node)
			}
		}
		last = o.Returned
		looks++
		said[o.Node] = view{o.Reply.Epoch, o.Reply.Detail}
		same := true
		for _, v := range said {
			same = same && v == said[o.Node]
		}
		switch {
		case !same:
			agreed = -1
		case agreed < 0:
			agreed = o.Returned
		}
	}
	if looks == 0 {
		return out
	}
	if agreed < 0 {
		out.Observed = (last - healed).Seconds()
		out.Status, out.Margin = Refuted, min(0, out.Bound-out.Observed)
		out.Why = "the nodes do not say the same at the end"
		return out
	}
	out.Observed = (agreed - healed).Seconds()
	out.most(t.Converge > 0)
	return out
}

// healed returns when the last fault was healed.
func (s *study) healed() (at time.Duration, any bool) {
	for _, f := range s.h.Faults {
		if f.Until >= 0 {
			at, any = max(at, f.Until), true
		}
	}
	return at, any
}

// writing is A5.
func (s *study) writing(t Targets) Result {
	out := Result{Invariant: "A5", Why: "no write to the ledger was done", Unit: "s", Bound: t.Debit.Seconds()}
	waiting, doneOnce := time.Duration(-1), false // since when one was asked and none done
	var dones []take
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		if !o.Kind.Writes() {
			continue
		}
		for len(dones) > 0 && dones[0].until <= o.Invoked {
			waiting, dones = -1, dones[1:]
		}
		if waiting < 0 {
			waiting = o.Invoked
		}
		if o.Answered() {
			doneOnce = true
			dones = append(dones, take{until: o.Returned})
			out.Observed = max(out.Observed, (o.Returned - waiting).Seconds())
		} else {
			out.Observed = max(out.Observed, (o.Invoked - waiting).Seconds())
		}
	}
	if !doneOnce {
		return out
	}
	out.most(t.Debit > 0)
	return out
}

// unaided is A6.
func (s *study) unaided() Result {
	out := Result{Invariant: "A6", Why: "no fault was healed", Unit: "steps by hand"}
	healed, ok := s.healed()
	if !ok {
		return out
	}
	out.Status, out.Why = Held, ""
	for _, e := range s.h.Events {
		if e.At > healed && (e.What == "help" || e.What == "fault") {
			out.against(nil, fmt.Sprintf("%s at %s: %s", e.What, e.At, e.Detail))
		}
	}
	return out
}
