package chaos

import (
	"fmt"
	"strings"
)

// Effort is what a run must have done before it says anything.
type Effort struct {
	Ops     int     // H2: of checks, and of writes to the ledger, while a fault lasts; where the run has any of them at all
	Unknown float64 // H3: the most of all operations that may be of unknown outcome
}

// DefaultEffort asks for 20 operations of a kind, and for 5 unknown outcomes in 100 at most (CHAOS §5).
func DefaultEffort() Effort { return Effort{Ops: 20, Unknown: 0.05} }

// Harness judges H1 to H4: each fault bit, enough was asked while they lasted, few outcomes are unknown, and every fault
// was healed. What fails here is inconclusive, never a pass and never the cluster's fault.
func Harness(h *History, e Effort) []Result { return newStudy(h, nil).harness(e) }

func (s *study) harness(e Effort) []Result {
	return []Result{s.bit(), s.busy(e), s.certain(e), s.healedAll()}
}

func (s *study) bit() Result {
	out := Result{Invariant: "H1", Why: "no fault was injected", Unit: "faults that did not bite"}
	var idle []string
	for _, f := range s.h.Faults {
		if !f.Bit() {
			idle = append(idle, fmt.Sprintf("%s %s (%s)", f.ID, f.Kind, f.Proof))
		}
	}
	out.Observed, out.Margin = float64(len(idle)), -float64(len(idle))
	switch {
	case len(idle) > 0:
		out.Why = strings.Join(idle, ", ")
	case len(s.h.Faults) > 0:
		out.Status, out.Why = Held, ""
	}
	return out
}

func (s *study) busy(e Effort) Result {
	out := Result{Invariant: "H2", Bound: float64(e.Ops), Unit: "operations"}
	var checks, writes, all [2]int // in all, during faults
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		n := &all
		switch {
		case o.Kind == Check:
			n = &checks
		case o.Kind.Writes():
			n = &writes
		}
		n[0]++
		if s.during(o) {
			n[1]++
		}
	}
	least := -1
	for _, n := range []*[2]int{&checks, &writes} {
		if n[0] > 0 && (least < 0 || n[1] < least) {
			least = n[1]
		}
	}
	out.Observed = float64(max(least, 0))
	out.Margin = out.Observed - out.Bound
	out.Why = fmt.Sprintf("%d checks and %d writes to the ledger while a fault lasted", checks[1], writes[1])
	if least >= e.Ops {
		out.Status = Held
	}
	return out
}

// during says whether a fault lasted when an operation was asked.
func (s *study) during(o *Op) bool {
	for _, f := range s.h.Faults {
		if f.From <= o.Invoked && (f.Until < 0 || o.Invoked <= f.Until) {
			return true
		}
	}
	return false
}

func (s *study) certain(e Effort) Result {
	out := Result{Invariant: "H3", Bound: e.Unknown, Unit: "of operations", Why: "nothing was asked"}
	unknown := 0
	for i := range s.h.Ops {
		if s.h.Ops[i].Outcome == Unknown {
			unknown++
		}
	}
	if len(s.h.Ops) == 0 {
		return out
	}
	out.Observed = float64(unknown) / float64(len(s.h.Ops))
	out.Margin = out.Bound - out.Observed
	out.Why = fmt.Sprintf("%d of %d outcomes are unknown", unknown, len(s.h.Ops))
	if out.Margin >= 0 {
		out.Status = Held
	}
	return out
}

func (s *study) healedAll() Result {
	out := Result{Invariant: "H4", Unit: "faults left", Status: Held}
	var left []string
	for _, f := range s.h.Faults {
		if f.Until < 0 {
			left = append(left, f.ID+" "+f.Kind)
		}
	}
	if out.Observed = float64(len(left)); len(left) > 0 {
		out.Status, out.Margin, out.Why = Inconclusive, -out.Observed, strings.Join(left, ", ")
	}
	return out
}
