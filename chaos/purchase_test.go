package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// newSales makes checks of one account that are paid with credit, with their debits in the journal; plant spoils one.
func newSales(seed uint64, plant string) *History {
	r := rand.New(rand.NewPCG(seed, 11))
	h := &History{}
	entries := []EntryReply{{Seq: 1, Movement: "open", Key: "open"}, {Seq: 2, Movement: "grant", Key: "g", Postings: []PostingReply{{"available", "g", 9000}, {"issued", "", -9000}}}}
	post := func(movement, key string, micros int64) {
		entries = append(entries, EntryReply{
			Seq: uint64(len(entries)) + 1, Index: uint64(len(entries)) + 1, Movement: movement, Key: key, Memo: "check d",
			Postings: []PostingReply{{"available", "g", micros}, {"spent", "", -micros}},
		})
	}
	h.Ops = append(h.Ops, Op{Returned: 1, Kind: Grant, Account: "a", Key: "g", Cost: 9000, Outcome: OK, Reply: Reply{Verdict: "done", Seq: 2, AmountMicros: 9000, BalanceAfterMicros: 9000}})
	spoilt := 5 + r.IntN(20)
	for i := range 40 {
		o := Op{Invoked: time.Duration(i+1) * time.Second, Returned: time.Duration(i+1)*time.Second + time.Millisecond, Kind: Check, Account: "a", Limits: []string{"spill"}, Cost: 1, Outcome: OK}
		o.Reply = Reply{Verdict: "ALLOW", Reason: "OK_CREDIT", Home: "n1", Epoch: 1, Decision: fmt.Sprint("D", i), Sources: []SourceReply{{Source: "PROMO", Amount: 1, CreditsMicros: 100, Grant: "g"}}}
		key := o.Reply.Decision
		if r.IntN(2) == 0 {
			o.Key = fmt.Sprint("check-", i)
			key = debitKey("d", "a", o.Key)
		}
		here := i == spoilt
		switch lot := r.IntN(10); {
		case here && plant == "charged though refused", !here && lot == 0:
			o.Reply.Verdict, o.Reply.Reason, o.Reply.Sources = "DENY", "LEDGER_UNAVAILABLE", nil
			if post("debit", key, -100); !here {
				post("return", "undo-"+key, 100)
			}
		case !here && lot == 1: // nobody knows, and it may have been paid
			o.Outcome, o.Returned, o.Reply = Unknown, -1, Reply{}
			if r.IntN(2) == 0 {
				post("debit", key, -100)
			}
		case !here && lot == 2:
			o.Reply.Reason, o.Reply.Sources = "OK", []SourceReply{{Source: "LIMIT", Amount: 1}}
		case here && plant == "never charged":
		case here && plant == "charged twice":
			post("debit", key, -100)
			post("debit", key, -100)
		case here && plant == "charged another amount":
			post("debit", key, -101)
		case here && plant == "charged for nothing":
			post("debit", key, -100)
			post("debit", "nobody", -100)
			post("debit", "nobody else", -100)
		default:
			post("debit", key, -100)
		}
		h.Ops = append(h.Ops, o)
	}
	if plant == "charged for nothing" { // no unknown outcome can excuse it
		h.Ops = slices.DeleteFunc(h.Ops, func(o Op) bool { return o.Outcome == Unknown })
	}
	h.Ops = append(h.Ops, Op{Invoked: time.Minute, Returned: time.Minute + 1, Kind: Entries, Account: "a", Cost: 1000, Outcome: OK, Reply: Reply{Entries: entries}})
	return h
}

// TestPlantedPurchasesAreFound looks for each in 40 random histories, and for nothing in 40 clean ones.
func TestPlantedPurchasesAreFound(t *testing.T) {
	t.Parallel()
	for _, plant := range []string{"", "charged though refused", "never charged", "charged twice", "charged another amount", "charged for nothing"} {
		for seed := range uint64(runs) {
			want := Refuted
			if plant == "" {
				want = Held
			}
			if got := Purchases(newSales(seed, plant)); got.Status != want {
				t.Errorf("%q, seed %d: %s, want %s: %s\n%s", plant, seed, got.Status, want, got.Why, tellAll(got.Excerpt))
			}
		}
	}
}

// TestPurchasesOfAListCutShortAreNotJudged cuts the journal's beginning, or its end, off.
func TestPurchasesOfAListCutShortAreNotJudged(t *testing.T) {
	t.Parallel()
	h := newSales(1, "")
	last := &h.Ops[len(h.Ops)-1]
	all := last.Reply.Entries
	h.Ops[0].Reply.Seq = uint64(len(all))
	for _, cut := range [][]EntryReply{all[10:], all[:len(all)-5]} {
		last.Reply.Entries = cut
		if got := Purchases(h); got.Status != Inconclusive {
			t.Errorf("%s: %s", got.Status, got.Why)
		}
	}
}
