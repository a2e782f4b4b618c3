package chaos

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"
)

// TestSecondOpinionOfExcerpts has the search judge short histories: it finds none of the clean ones wrong, and sees a read
// that is stale or a balance that does not fit without believing any seq.
func TestSecondOpinionOfExcerpts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		plant string
		least int // of the runs
	}{{"", 0}, {"stale read", 15}, {"silent debit", 30}, {"lost debit", 30}} {
		found := 0
		for seed := range uint64(runs) {
			b := newBank(seed, 120, row.plant)
			b.plant = row.plant
			got, err := SecondOpinion(b.history.Ops, nil, "hot", 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got.Status == Refuted {
				found++
				if row.plant == "" || !b.planted {
					t.Errorf("seed %d: a clean history is refuted: %s", seed, got.Why)
				}
			}
		}
		if found < row.least {
			t.Errorf("%q was found in %d of %d", row.plant, found, runs)
		}
	}
}

// TestSecondOpinionDrawsAPicture writes the page, and refuses what is too long.
func TestSecondOpinionDrawsAPicture(t *testing.T) {
	t.Parallel()
	h := newBank(1, 100, "").history
	got, err := SecondOpinion(h.Ops, nil, "hot", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := got.Picture(&page); err != nil || !bytes.Contains(page.Bytes(), []byte("<html")) {
		t.Errorf("%d bytes of a page: %v", page.Len(), err)
	}
	if _, err := SecondOpinion(newBank(1, 2000, "").history.Ops, nil, "hot", time.Second); !errors.Is(err, ErrTooLong) {
		t.Errorf("2000 operations: %v", err)
	}
}

// TestSecondOpinionIsOpenWhereAPaymentIsNotKnown adds a check that may have been paid.
func TestSecondOpinionIsOpenWhereAPaymentIsNotKnown(t *testing.T) {
	t.Parallel()
	rules := []Limit{{Name: "spill", Spill: true}}
	read := Op{Invoked: 20, Returned: 21, Kind: Balance, Account: "a", Outcome: OK, Reply: Reply{Seq: 3, BalanceAfterMicros: 7}}
	before := read
	before.Invoked, before.Returned, before.Reply.BalanceAfterMicros = 1, 2, 9
	check := Op{Invoked: 5, Returned: -1, Kind: Check, Account: "a", Limits: []string{"spill"}, Cost: 1}
	paid := check
	paid.Returned, paid.Outcome, paid.Reply = 6, OK, Reply{Verdict: "ALLOW", Reason: "OK_CREDIT", Sources: []SourceReply{{"PROMO", 1, 2, "g"}}}
	debit := Op{Invoked: 5, Returned: -1, Kind: Debit, Account: "a", Key: "k", Cost: 2}
	same := before
	same.Invoked, same.Returned = 30, 31
	for _, row := range []struct {
		name string
		ops  []Op
		want Status
	}{
		{"a debit that nobody knows of was done", []Op{before, debit, read}, Held},
		{"it was not", []Op{before, debit, same}, Held},
		{"it was done and undone", []Op{before, debit, read, same}, Refuted},
		{"nobody moved anything", []Op{before, read}, Refuted},
		{"a check paid it", []Op{before, paid, read}, Held},
		{"a check may have", []Op{before, check, read}, Inconclusive},
	} {
		got, err := SecondOpinion(slices.Clone(row.ops), rules, "a", time.Second)
		if err != nil || got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s %v", row.name, got.Status, row.want, got.Why, err)
		}
	}
}
