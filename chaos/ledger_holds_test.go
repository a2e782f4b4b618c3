package chaos

import (
	"slices"
	"testing"
	"time"
)

// till is a made-up account of one hold and one debit whose history is right, for tests to spoil.
type till struct{ History }

const (
	tillAccount = "a"
	tillAudit   = 11 // which of its operations lists the journal
)

func moves(pairs ...any) (postings []PostingReply) {
	for i := 0; i < len(pairs); i += 2 {
		postings = append(postings, PostingReply{pairs[i].(string), "", int64(pairs[i+1].(int))})
	}
	return postings
}

func newTill() *till {
	t := &till{}
	at := time.Duration(0)
	put := func(o Op, r Reply) {
		at += time.Second
		o.Account, o.Outcome, o.Invoked, o.Returned, o.Reply = tillAccount, OK, at, at+10*time.Millisecond, r
		o.Reply.Index, o.Reply.Term = o.Reply.Seq+10, 1
		t.Ops = append(t.Ops, o)
	}
	open := func(held, captured int64) HoldReply { return HoldReply{State: "open", Held: held, Captured: captured} }
	put(Op{Kind: Grant, Key: "g", Cost: 100}, Reply{Seq: 2, AmountMicros: 100, BalanceAfterMicros: 100})
	put(Op{Kind: Authorize, Key: "h", Cost: 60, Ask: Ask{TTL: 5 * time.Minute}}, Reply{Seq: 3, AmountMicros: 60, BalanceAfterMicros: 40, Hold: open(60, 0)})
	put(Op{Kind: Extend, Key: "x", Cost: 10, Ask: Ask{Of: "h"}}, Reply{Seq: 4, AmountMicros: 10, BalanceAfterMicros: 30, Hold: open(70, 0)})
	put(Op{Kind: Capture, Key: "c", Cost: 20, Ask: Ask{Of: "h"}}, Reply{Seq: 5, AmountMicros: 20, BalanceAfterMicros: 30, Hold: open(50, 20)})
	put(Op{Kind: Refund, Key: "early", Cost: 5, Ask: Ask{Of: "h"}}, Reply{Verdict: "hold_open", Seq: 5, BalanceAfterMicros: 30, Hold: open(50, 20)})
	put(Op{Kind: Release, Key: "r", Ask: Ask{Of: "h"}}, Reply{Seq: 6, AmountMicros: 50, BalanceAfterMicros: 80, Hold: HoldReply{State: "released", Captured: 20}})
	put(Op{Kind: Refund, Key: "f", Cost: 15, Ask: Ask{Of: "h"}}, Reply{Seq: 7, AmountMicros: 15, BalanceAfterMicros: 95, Hold: HoldReply{State: "released", Captured: 20, Refunded: 15}})
	put(Op{Kind: Debit, Key: "d", Cost: 200, Ask: Ask{Overshoot: "cap"}}, Reply{Seq: 8, AmountMicros: 95, ForgivenMicros: 105})
	put(Op{Kind: Authorize, Key: "short", Cost: 30, Ask: Ask{TTL: time.Second}}, Reply{Verdict: "insufficient", Seq: 9, Hold: HoldReply{State: "refused"}})
	put(Op{Kind: Capture, Key: "late", Cost: 5, Ask: Ask{Of: "short", Final: true}}, Reply{Verdict: "hold_refused", Seq: 9, Hold: HoldReply{State: "refused"}})
	put(Op{Kind: Balance, MinIndex: 12}, Reply{Seq: 9, Books: Books{-100, 0, 0, 100}})
	put(Op{Kind: Entries, Cost: 100}, Reply{Entries: []EntryReply{
		{Seq: 1, Movement: "open", Key: "open"},
		{Seq: 2, Movement: "grant", Key: "g", Postings: moves("issued", -100, "available", 100)},
		{Seq: 3, Movement: "authorize", Key: "h", Hold: "h", Postings: moves("available", -60, "held", 60)},
		{Seq: 4, Movement: "extend", Key: "x", Hold: "h", Postings: moves("available", -10, "held", 10)},
		{Seq: 5, Movement: "capture", Key: "c", Hold: "h", Charge: "h", Postings: moves("held", -20, "spent", 20)},
		{Seq: 6, Movement: "release", Key: "r", Hold: "h", Postings: moves("held", -50, "available", 50)},
		{Seq: 7, Movement: "refund", Key: "f", Hold: "h", Charge: "h", Postings: moves("spent", -15, "available", 15)},
		{Seq: 8, Movement: "debit", Key: "d", Charge: "d", Forgiven: 105, Postings: moves("available", -95, "spent", 95)},
		{Seq: 9, Movement: "refuse", Key: "short", Hold: "short"},
	}})
	for i := range t.Ops[tillAudit].Reply.Entries {
		e := &t.Ops[tillAudit].Reply.Entries[i]
		e.Index, e.Term, e.Event = e.Seq+10, 1, e.Seq
	}
	return t
}

// entry is a movement of the audited journal by its seq.
func (t *till) entry(seq int) *EntryReply { return &t.Ops[tillAudit].Reply.Entries[seq-1] }

// answer is the answer to a key.
func (t *till) answer(key string) *Op {
	return &t.Ops[slices.IndexFunc(t.Ops, func(o Op) bool { return o.Key == key })]
}

// add appends an operation, a second after the last.
func (t *till) add(o Op) {
	last := t.Ops[len(t.Ops)-1].Invoked
	o.Account, o.Invoked, o.Returned = tillAccount, last+time.Second, last+time.Second+time.Millisecond
	t.Ops = append(t.Ops, o)
}

// TestWhatHoldsAndChargesMustKeep spoils one thing of a history that is right: the checker whose it is must see it.
func TestWhatHoldsAndChargesMustKeep(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		finds string
		spoil func(t *till)
	}{
		{"nothing", "", func(*till) {}},
		{"a release gives back more than is held", "L1", func(t *till) { t.entry(6).Postings = moves("held", -60, "available", 60) }},
		{"a capture leaves something held after the end", "L1", func(t *till) { t.entry(6).Postings = moves("held", -40, "available", 40) }},
		{"a refund gives back more than was captured", "L1", func(t *till) { t.entry(7).Postings = moves("spent", -25, "available", 25) }},
		{"a read tells other books", "L1", func(t *till) { t.Ops[10].Reply.Books = Books{-100, 0, 0, 90, 0, 10} }},
		{"an answer tells less held than there is", "L1", func(t *till) { t.answer("c").Reply.Hold.Held = 40 }},
		{"a hold outlives its time", "L1", func(t *till) {
			t.Ops = append(t.Ops[:2:2], t.Ops[tillAudit])
			t.Ops[2].Reply.Entries = t.Ops[2].Reply.Entries[:3]
			t.Ops[2].Invoked += time.Hour
			t.Ops[2].Returned += time.Hour
		}},
		{"credits are held for no hold", "L1", func(t *till) { t.entry(3).Hold = "" }},
		{"more is held than there is", "L2", func(t *till) {
			t.entry(3).Postings = moves("available", -160, "held", 160)
		}},
		{"a charge is below zero in its book", "L2", func(t *till) { t.entry(5).Postings = moves("held", 20, "spent", -20) }},
		{"another write with the key is answered", "L4", func(t *till) {
			t.add(Op{Kind: Capture, Key: "c", Cost: 21, Ask: Ask{Of: "h"}, Outcome: OK, Reply: t.answer("c").Reply})
		}},
		{"the second answer differs in what is not looked at one by one", "L4", func(t *till) {
			again := *t.answer("c")
			again.Reply.Sum = "other"
			t.add(again)
		}},
		{"a capture is done after the end", "L5", func(t *till) {
			t.entry(6).Movement, t.entry(6).Key, t.entry(7).Movement, t.entry(7).Key = "refund", "f", "release", "r"
		}},
		{"an open hold is answered to be captured", "L5", func(t *till) { t.answer("early").Reply.Verdict = "already_captured" }},
		{"an acknowledged hold is not known", "L6", func(t *till) {
			t.add(Op{Kind: Capture, Key: "new", Cost: 1, Ask: Ask{Of: "h"}, Outcome: Failed, Reply: Reply{Reason: "HOLD_NOT_FOUND"}})
		}},
		{"a read is older than it may be", "L8", func(t *till) {
			t.add(Op{Kind: Balance, Stale: time.Second, Outcome: OK, Reply: Reply{Seq: 3, Index: 13, Term: 1, BalanceAfterMicros: 40}})
			t.Ops[len(t.Ops)-1].Invoked += time.Minute
			t.Ops[len(t.Ops)-1].Returned += time.Minute
		}},
		{"a read is from before the index it named", "L8", func(t *till) { t.Ops[10].MinIndex = 20 }},
		{"a release pays back what was captured", "L9", func(t *till) { t.entry(6).Postings = moves("held", -50, "spent", -20, "available", 70) }},
		{"a debit that denies forgives", "L9", func(t *till) { t.answer("d").Ask.Overshoot = "deny" }},
		{"a hold holds less than was asked", "L9", func(t *till) { t.entry(3).Postings = moves("available", -50, "held", 50) }},
		{"a capture is of another hold", "L9", func(t *till) { t.answer("c").Ask.Of = "short" }},
		{"a hold ends before its time", "L9", func(t *till) {
			*t.entry(6) = EntryReply{Seq: 6, Movement: "lapse", Hold: "h", Index: 16, Term: 1, Postings: moves("held", -50, "available", 50)}
		}},
		{"time grants what nobody asked for", "L9", func(t *till) { t.entry(2).Key, t.entry(2).Grant = "", "g@2000-01-01" }},
	} {
		h := newTill()
		row.spoil(h)
		found := refuted(Judge(&h.History, nil))
		if row.finds == "" && len(found) > 0 || row.finds != "" && !slices.Contains(found, row.finds) {
			t.Errorf("%s: %v refuted, want %s", row.name, found, row.finds)
		}
	}
}

// TestReadsForeseeWhatTimeDoes reads an account whose hold and grant are over before anybody booked that.
func TestReadsForeseeWhatTimeDoes(t *testing.T) {
	t.Parallel()
	entries := []EntryReply{
		{Seq: 1, Movement: "grant", Key: "g", Postings: moves("issued", -100, "available", 100)},
		{Seq: 2, Movement: "authorize", Key: "h", Hold: "h", Postings: moves("available", -60, "held", 60)},
		{Seq: 3, Movement: "lapse", Hold: "h", Postings: moves("held", -60, "available", 60)},
		{Seq: 4, Movement: "expire", Postings: moves("available", -100, "expired", 100)},
		{Seq: 5, Movement: "update", Key: "u"},
	}
	for i := range entries {
		entries[i].Index, entries[i].Term = uint64(i), 1
	}
	for _, row := range []struct {
		name  string
		books Books
		want  Status
	}{
		{"as it was booked", Books{-100, 40, 0, 0, 0, 60}, Held},
		{"the hold is over", Books{-100, 100}, Held},
		{"both are", Books{-100, 0, 0, 0, 100}, Held},
		{"the grant is, the hold goes on", Books{-100, 0, 0, 0, 40, 60}, Held},
		{"what is held is lost", Books{-100, 40, 0, 60}, Refuted},
	} {
		h := &History{Ops: []Op{
			{Invoked: 1, Returned: 2, Kind: Grant, Account: "a", Key: "g", Cost: 100, Ask: Ask{Expires: 2}, Outcome: OK, Reply: Reply{Seq: 1, AmountMicros: 100, BalanceAfterMicros: 100}},
			{Invoked: 3, Returned: 4, Kind: Authorize, Account: "a", Key: "h", Cost: 60, Ask: Ask{TTL: 1}, Outcome: OK, Reply: Reply{Seq: 2, AmountMicros: 60, BalanceAfterMicros: 40}},
			{Invoked: 5, Returned: 6, Kind: Balance, Account: "a", Outcome: OK, Reply: Reply{Seq: 2, BalanceAfterMicros: row.books[available], Books: row.books}},
			{Invoked: 7, Returned: 8, Kind: Update, Account: "a", Key: "u", Outcome: OK, Reply: Reply{Seq: 5}},
			{Invoked: 9, Returned: 10, Kind: Entries, Account: "a", Cost: 99, Outcome: OK, Reply: Reply{Entries: entries}},
		}}
		if got := Conservation(h); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}
