package chaos

import (
	"slices"
	"testing"
	"time"
)

// outlet is a made-up reader of four events, which began anew once, and a feed to the end.
func outlet() *History {
	event := func(seq, accountSeq, prev uint64, account string) EntryReply {
		return EntryReply{Event: seq, Seq: accountSeq, Prev: prev, Account: account, Movement: "update", Key: account}
	}
	all := []EntryReply{event(1, 1, 0, "a"), event(2, 1, 0, "b"), event(3, 2, 1, "a"), event(4, 3, 3, "a")}
	piece := func(reader, stream string, after, upTo int64) Op {
		return Op{Kind: Feed, Account: reader, Key: stream, Cost: after, Outcome: OK, Reply: Reply{Seq: uint64(upTo), Entries: slices.Clone(all[after:upTo])}}
	}
	end := piece("other", "s4", 0, 4)
	end.Ask.Final = true
	h := &History{Ops: []Op{
		piece("drill", "s1", 0, 1),
		{Kind: Mark, Account: "drill", Cost: 1, Outcome: OK},
		piece("drill", "s1", 1, 3),
		{Kind: Mark, Account: "drill", Cost: 3, Outcome: Unknown},
		piece("drill", "s2", 1, 2),
		piece("drill", "s3", 3, 4),
		{Kind: Debit, Account: "a", Key: "a", Outcome: OK, Reply: Reply{Seq: 3, Event: 4}},
		end,
	}}
	for i := range h.Ops {
		h.Ops[i].Invoked = time.Duration(i+1) * time.Minute
		h.Ops[i].Returned = h.Ops[i].Invoked + time.Second
	}
	return h
}

// TestOutboxMissesNothing spoils one thing of a stream of events that is right.
func TestOutboxMissesNothing(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		want  Status
		spoil func(h *History)
	}{
		{"nothing", Held, func(*History) {}},
		{"an event is left out", Refuted, func(h *History) { h.Ops[2].Reply.Entries = h.Ops[2].Reply.Entries[1:] }},
		{"two come in the wrong order", Refuted, func(h *History) { slices.Reverse(h.Ops[2].Reply.Entries) }},
		{"an event is another one the second time", Refuted, func(h *History) { h.Ops[4].Reply.Entries[0].Memo, h.Ops[4].Reply.Entries[0].Key = "", "other" }},
		{"a stream goes on behind where it was", Refuted, func(h *History) { h.Ops[2].Cost, h.Ops[2].Reply.Entries = 2, h.Ops[2].Reply.Entries[1:] }},
		{"a reader begins before its cursor", Refuted, func(h *History) { h.Ops[4].Cost, h.Ops[4].Reply.Entries = 0, h.Ops[7].Reply.Entries[:2] }},
		{"a reader begins beyond all that it was told", Refuted, func(h *History) { h.Ops = slices.Delete(h.Ops, 2, 3) }},
		{"an event names another before it", Refuted, func(h *History) {
			for _, i := range []int{5, 7} {
				h.Ops[i].Reply.Entries[len(h.Ops[i].Reply.Entries)-1].Prev = 2
			}
		}},
		{"the end is not told", Refuted, func(h *History) { h.Ops[7].Reply.Entries, h.Ops[7].Reply.Seq = h.Ops[7].Reply.Entries[:3], 3 }},
		{"an account's journal has something else there", Refuted, func(h *History) {
			h.Ops = append(h.Ops, Op{Invoked: time.Hour, Returned: time.Hour, Kind: Entries, Account: "a", Outcome: OK, Reply: Reply{Entries: []EntryReply{{Event: 3, Seq: 2, Movement: "update", Key: "x"}}}})
		}},
		{"a node says that events are gone which another has", Refuted, func(h *History) {
			h.Ops = append(h.Ops, Op{Kind: Feed, Account: "late", Key: "s5", Outcome: Failed, Reply: Reply{Reason: reasonGone, Seq: 3}})
		}},
		{"no node has the first any more", Inconclusive, func(h *History) {
			h.Ops = []Op{{Kind: Feed, Account: "late", Key: "s5", Outcome: Failed, Reply: Reply{Reason: reasonGone, Seq: 4}}, h.Ops[5]}
			h.Ops[1].Account, h.Ops[1].Key = "late", "s6"
			h.Ops = slices.Insert(h.Ops, 1, Op{Kind: Mark, Account: "late", Cost: 3, Outcome: OK})
		}},
		{"nobody reads", Inconclusive, func(h *History) { h.Ops = h.Ops[6:7] }},
	} {
		h := outlet()
		row.spoil(h)
		if got := Outbox(h); got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s", row.name, got.Status, row.want, got.Why)
		}
	}
}
