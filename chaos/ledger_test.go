package chaos

import (
	"fmt"
	"slices"
	"testing"
)

// runs is how many random histories each plant is looked for in, and how many clean ones there are.
const runs = 40

func refuted(results []Result) (ids []string) {
	for _, r := range results {
		if r.Status == Refuted {
			ids = append(ids, r.Invariant)
		}
	}
	return ids
}

// TestPlantedLedgerBugsAreFound plants one bug in each of 40 random histories of one hot account with 3 % unknown outcomes
// and repeated amounts: each must be found, by the checker whose it is.
func TestPlantedLedgerBugsAreFound(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ plant, finds string }{
		{"double debit", "L3"},
		{"silent debit", "L1"},
		{"lost debit", "L6"},
		{"stale read", "L5"},
		{"failed but done", "L3"},
		{"another reply", "L4"},
		{"below zero", "L2"},
		{"phantom", "L9"},
		{"other amount", "L9"},
		{"lopsided", "L1"},
		{"lost tail", "L6"},
		{"swapped", "L6"},
		{"other replica", "L7"},
		{"other digest", "L7"},
	} {
		t.Run(row.plant, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(runs) {
				b := newBank(seed, 600, row.plant)
				if !b.planted {
					t.Fatalf("seed %d: nothing was planted", seed)
				}
				results := Judge(b.history, nil)
				if !slices.Contains(refuted(results), row.finds) {
					t.Errorf("seed %d: %s was not refuted, but %v", seed, row.finds, refuted(results))
				}
				for _, r := range results {
					if r.Invariant == row.finds && (r.Why == "" || len(r.Excerpt) == 0 && row.plant != "other digest" || len(r.Excerpt) > 3) {
						t.Errorf("seed %d: %s tells %q with an excerpt of %d", seed, row.finds, r.Why, len(r.Excerpt))
					}
				}
			}
		})
	}
}

// TestCleanLedgersRaiseNoAlarm judges histories in which nothing went wrong, with any part of unknown outcomes.
func TestCleanLedgersRaiseNoAlarm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2 * runs) {
		b := newBank(seed, 200+100*int(seed%10), "")
		results := Judge(b.history, nil)
		if ids := refuted(results); len(ids) > 0 {
			for _, r := range results {
				if r.Status == Refuted {
					t.Errorf("seed %d: %s: %s\n%s", seed, r.Invariant, r.Why, tellAll(r.Excerpt))
				}
			}
		}
	}
}

func tellAll(ops []Op) (text string) {
	for i := range ops {
		text += fmt.Sprintln("  ", ops[i].tell())
	}
	return text
}

// TestWithoutAnAuditRepliesStillTell judges the replies alone: what only a journal could tell is inconclusive.
func TestWithoutAnAuditRepliesStillTell(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ plant, finds string }{
		{"double debit", "L3"},
		{"another reply", "L4"},
		{"stale read", "L5"},
		{"lost debit", "L1"},
	} {
		found := 0
		for seed := range uint64(runs) {
			b := newBank(seed, 600, row.plant)
			b.history.Ops = slices.DeleteFunc(b.history.Ops, func(o Op) bool { return o.Kind == Entries })
			results := Judge(b.history, nil)
			if slices.Contains(refuted(results), row.finds) {
				found++
			}
			for _, r := range results {
				if r.Invariant == "L6" && r.Status != Inconclusive {
					t.Errorf("seed %d: L6 is %s without an audit", seed, r.Status)
				}
			}
		}
		if least := map[string]int{"lost debit": runs / 2}[row.plant]; found < max(least, 1) || row.plant != "lost debit" && found < runs {
			t.Errorf("%s was found in %d of %d", row.plant, found, runs)
		}
	}
}

// TestWhatIsInTheJournalAgainstItsOutcome judges one debit and one movement.
func TestWhatIsInTheJournalAgainstItsOutcome(t *testing.T) {
	t.Parallel()
	debit := func(outcome Outcome, verdict string) Op {
		o := Op{Invoked: 1, Returned: 2, Kind: Debit, Account: "a", Key: "k", Cost: 5, Outcome: outcome}
		switch outcome {
		case Unknown:
			o.Returned = -1
		case OK:
			o.Reply = Reply{Verdict: verdict, Seq: 2, Index: 3, Term: 1}
		}
		return o
	}
	entries := []EntryReply{{Seq: 1, Index: 2, Term: 1, Movement: "open", Key: "o"}, {Seq: 2, Index: 3, Term: 1, Movement: "debit", Key: "k", Postings: []PostingReply{{"available", "g", -5}, {"spent", "", 5}}}}
	for _, row := range []struct {
		name string
		op   Op
		want Status
	}{
		{"nobody knows", debit(Unknown, ""), Held},
		{"done", debit(OK, "done"), Held},
		{"surely failed", debit(Failed, ""), Refuted},
		{"refused", debit(OK, "insufficient"), Refuted},
	} {
		h := &History{Ops: []Op{row.op, {Invoked: 9, Returned: 10, Kind: Entries, Account: "a", Outcome: OK, Reply: Reply{Entries: entries}}}}
		if got := ExactlyOnce(h); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}

// TestAcknowledgedAmountIsTheOneAskedFor judges a debit that was done right and acknowledged wrong.
func TestAcknowledgedAmountIsTheOneAskedFor(t *testing.T) {
	t.Parallel()
	for amount, want := range map[int64]Status{5: Held, 6: Refuted} {
		h := &History{Ops: []Op{
			{Invoked: 1, Returned: 2, Kind: Debit, Account: "a", Key: "k", Cost: 5, Outcome: OK, Reply: Reply{Verdict: "done", Seq: 1, AmountMicros: amount}},
			{Invoked: 9, Returned: 10, Kind: Entries, Account: "a", Outcome: OK, Reply: Reply{Entries: []EntryReply{
				{Seq: 1, Movement: "debit", Key: "k", Postings: []PostingReply{{"available", "g", -5}, {"spent", "", 5}}},
			}}},
		}}
		if got := NoPhantom(h); got.Status != want {
			t.Errorf("%d acknowledged of 5: %s, want %s: %s", amount, got.Status, want, got.Why)
		}
	}
}
