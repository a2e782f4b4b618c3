package chaos

import (
	"testing"
	"time"
)

const second = time.Second

// find returns the result of an invariant.
func find(t *testing.T, results []Result, id string) Result {
	t.Helper()
	for _, r := range results {
		if r.Invariant == id {
			return r
		}
	}
	t.Fatalf("no result of %s", id)
	return Result{}
}

// TestWhatTheHarnessMissedIsInconclusive never passes, and never blames the cluster either.
func TestWhatTheHarnessMissedIsInconclusive(t *testing.T) {
	t.Parallel()
	bit := Fault{ID: "f1", Kind: "cut", From: second, Until: 20 * second, After: 1}
	idle, left := bit, bit
	idle.After, left.Until = 0, -1
	asked := func(n, unknown int) (ops []Op) {
		for i := range n {
			o := Op{Invoked: 2*second + time.Duration(i), Returned: 3 * second, Kind: Check, Outcome: OK}
			if i < unknown {
				o.Outcome, o.Returned = Unknown, -1
			}
			ops = append(ops, o)
		}
		return ops
	}
	for _, row := range []struct {
		name   string
		h      History
		id     string
		status Status
	}{
		{"the fault bit", History{Faults: []Fault{bit}}, "H1", Held},
		{"one did not", History{Faults: []Fault{bit, idle}}, "H1", Inconclusive},
		{"no fault", History{}, "H1", Inconclusive},
		{"enough was asked", History{Ops: asked(20, 0), Faults: []Fault{bit}}, "H2", Held},
		{"too little was asked", History{Ops: asked(19, 0), Faults: []Fault{bit}}, "H2", Inconclusive},
		{"nothing was asked", History{Faults: []Fault{bit}}, "H2", Inconclusive},
		{"no write of few", History{Ops: append(asked(20, 0), Op{Invoked: 40 * second, Returned: 41 * second, Kind: Grant, Outcome: OK}), Faults: []Fault{bit}}, "H2", Inconclusive},
		{"5 in 100 unknown", History{Ops: asked(100, 5)}, "H3", Held},
		{"6 in 100 unknown", History{Ops: asked(100, 6)}, "H3", Inconclusive},
		{"all healed", History{Faults: []Fault{bit}}, "H4", Held},
		{"one not healed", History{Faults: []Fault{left}}, "H4", Inconclusive},
	} {
		if got := find(t, Harness(&row.h, DefaultEffort()), row.id); got.Status != row.status {
			t.Errorf("%s: %s is %s, want %s: %s", row.name, row.id, got.Status, row.status, got.Why)
		}
	}
}

// TestAvailabilityIsMeasuredAndJudged judges one made-up outage.
func TestAvailabilityIsMeasuredAndJudged(t *testing.T) {
	t.Parallel()
	check := func(at, took time.Duration, reason string) Op {
		return Op{Invoked: at, Returned: at + took, Kind: Check, Outcome: OK, Reply: Reply{Reason: reason}}
	}
	view := func(at time.Duration, node string, epoch uint64) Op {
		return Op{Invoked: at, Returned: at + 1, Node: node, Kind: View, Outcome: OK, Reply: Reply{Epoch: epoch}}
	}
	late := check(2*second, 0, "OK")
	late.Intended, late.Returned = second, 2*second+second/2
	h := History{
		Ops: []Op{
			check(second, second/10, "OK"), late, check(3*second, second/10, "FALLBACK_SHARE"),
			{Invoked: 11 * second, Returned: 12 * second, Kind: Debit, Outcome: OK},
			{Invoked: 13 * second, Returned: -1, Kind: Debit},
			{Invoked: 15 * second, Returned: 19 * second, Kind: Debit, Outcome: OK},
			check(16*second, second, "FALLBACK_SHARE"),
			view(31*second, "n1", 1), view(31*second+2, "n2", 2), view(34*second, "n1", 2),
		},
		Faults: []Fault{{ID: "f1", From: 10 * second, Until: 30 * second, After: 1}},
		Events: []Event{{At: 12 * second, Node: "n1", What: "epoch"}, {At: 14 * second, Node: "n2", What: "leader"}},
	}
	for _, row := range []struct {
		id       string
		observed float64
		strict   Targets
		want     Status // by the strict target
	}{
		{"A1", 2.0 / 3, Targets{Answered: 0.9}, Refuted},
		{"A1", 2.0 / 3, Targets{Answered: 0.6}, Held},
		{"A2", 1.5, Targets{P99: second}, Refuted},
		{"A2", 1.5, Targets{P99: 2 * second}, Held},
		{"A3", 2, Targets{Detect: second}, Refuted},
		{"A3", 2, Targets{Detect: 3 * second}, Held},
		{"A4", 4, Targets{Converge: 3 * second}, Refuted},
		{"A4", 4, Targets{Converge: 5 * second}, Held},
		{"A5", 6, Targets{Debit: 5 * second}, Refuted},
		{"A5", 6, Targets{Debit: 7 * second}, Held},
		{"A6", 0, Targets{}, Held},
	} {
		got := find(t, Availability(&h, row.strict), row.id)
		if diff := got.Observed - row.observed; diff > 1e-6 || diff < -1e-6 || got.Status != row.want {
			t.Errorf("%s: observed %g, want %g; %s, want %s: %s", row.id, got.Observed, row.observed, got.Status, row.want, got.Why)
		}
		if got := find(t, Availability(&h, Targets{}), row.id); got.Status != Held {
			t.Errorf("%s without a target is %s: %s", row.id, got.Status, got.Why)
		}
	}
	apart := h
	apart.Ops = h.Ops[:len(h.Ops)-1]
	if got := find(t, Availability(&apart, DefaultTargets()), "A4"); got.Status != Refuted {
		t.Errorf("A4 of nodes that never agree is %s", got.Status)
	}
	helped := h
	helped.Events = append(helped.Events, Event{At: 31 * second, What: "help", Detail: "a restart by hand"})
	if got := find(t, Availability(&helped, DefaultTargets()), "A6"); got.Status != Refuted {
		t.Errorf("A6 of a cluster that was helped is %s", got.Status)
	}
}

// TestEpochMayGoBackWithANewProcess judges a node that was wiped between two looks, and one that was not.
func TestEpochMayGoBackWithANewProcess(t *testing.T) {
	t.Parallel()
	look := func(at time.Duration, epoch uint64) Op {
		return Op{Invoked: at, Returned: at + 1, Node: "n1", Kind: View, Outcome: OK, Reply: Reply{Epoch: epoch}}
	}
	h := History{Ops: []Op{look(second, 5), look(3*second, 4)}, Events: []Event{{Node: "n1", What: "start"}}}
	if got := EpochAgreement(&h); got.Status != Refuted {
		t.Errorf("an epoch that goes back is %s", got.Status)
	}
	h.Events = append(h.Events, Event{At: 2 * second, Node: "n1", What: "start"})
	if got := EpochAgreement(&h); got.Status == Refuted {
		t.Errorf("an epoch that goes back with a new process is refuted: %s", got.Why)
	}
}

// TestClientsReadsNeverGoBack judges one client's reads of an account.
func TestClientsReadsNeverGoBack(t *testing.T) {
	t.Parallel()
	read := func(at time.Duration, client int, seq uint64) Op {
		return Op{Invoked: at, Returned: at + 1, Client: client, Kind: Balance, Account: "a", Outcome: OK, Reply: Reply{Seq: seq}}
	}
	for _, row := range []struct {
		ops  []Op
		want Status
	}{
		{[]Op{read(1, 1, 3), read(5, 1, 2)}, Refuted},
		{[]Op{read(1, 1, 3), read(5, 1, 3)}, Held},
		{[]Op{read(1, 1, 3), read(5, 2, 2)}, Inconclusive}, // another client's; L5 has it
	} {
		if got := SessionReads(&History{Ops: row.ops}); got.Status != row.want {
			t.Errorf("%v: %s, want %s", row.ops, got.Status, row.want)
		}
	}
}
