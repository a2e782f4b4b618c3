package chaos

import (
	"testing"
	"time"
)

// TestSecondOpinionKnowsHolds searches for an order of what was done to holds, by what was told alone.
func TestSecondOpinionKnowsHolds(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Second
	op := func(at time.Duration, kind Kind, of string, cost, amount, balance, held int64) Op {
		o := Op{Invoked: at * time.Second, Returned: at*time.Second + 1, Kind: kind, Account: "a", Key: kind.String() + at.String(), Cost: cost, Outcome: OK}
		o.Ask.Of = of
		o.Reply = Reply{AmountMicros: amount, BalanceAfterMicros: balance, Hold: HoldReply{Held: held}}
		return o
	}
	hold := op(2, Authorize, "", 60, 60, 40, 60)
	hold.Key, hold.Ask.TTL = "h", ttl
	final := func(o Op) Op { o.Ask.Final = true; return o }
	cut := func(o Op) Op { o.Ask.Overshoot = "cap"; return o }
	unknown := func(o Op) Op { o.Outcome, o.Returned, o.Reply = Unknown, -1, Reply{}; return o }
	charges := func(o Op) Op { o.Ask.OnExpire = "capture"; return o }
	read := func(at time.Duration, balance int64) Op { return op(at, Balance, "", 0, 0, balance, 0) }
	first := op(1, Grant, "", 100, 100, 100, 0)
	for _, row := range []struct {
		name string
		ops  []Op
		want Status
	}{
		{"captured in two steps", []Op{first, hold, op(3, Capture, "h", 20, 20, 40, 40), final(op(4, Capture, "h", 10, 10, 70, 0)), read(9, 70)}, Held},
		{"captured twice over", []Op{first, hold, op(3, Capture, "h", 20, 20, 40, 40), final(op(4, Capture, "h", 10, 10, 90, 0))}, Refuted},
		{"extended and released", []Op{first, hold, op(3, Extend, "h", 10, 10, 30, 70), op(4, Release, "h", 0, 70, 100, 0), read(20, 100)}, Held},
		{"released less than was held", []Op{first, hold, op(4, Release, "h", 0, 50, 90, 0)}, Refuted},
		{"ended by itself", []Op{first, hold, read(4, 40), read(8, 100)}, Held},
		{"ended before its time", []Op{first, hold, read(4, 100)}, Refuted},
		{"charged at its end", []Op{first, charges(hold), read(4, 40), read(9, 40)}, Held},
		{"captured late from what there is", []Op{first, hold, read(8, 100), cut(op(9, Capture, "h", 150, 100, 0, 0))}, Held},
		{"beyond what is held", []Op{first, hold, cut(op(3, Capture, "h", 80, 80, 20, 0)), op(4, Refund, "h", 80, 80, 100, 0)}, Held},
		{"nobody knows of the capture, it was done", []Op{first, hold, unknown(final(op(3, Capture, "h", 20, 20, 0, 0))), read(4, 80)}, Held},
		{"it was not", []Op{first, hold, unknown(final(op(3, Capture, "h", 20, 20, 0, 0))), read(4, 40)}, Held},
		{"it took something else", []Op{first, hold, unknown(final(op(3, Capture, "h", 20, 20, 0, 0))), read(4, 70)}, Refuted},
		{"nobody knows of the hold, it came", []Op{first, unknown(hold), read(4, 40), op(5, Release, "h", 0, 60, 100, 0)}, Held},
		{"an answer tells too little held", []Op{first, hold, op(3, Extend, "h", 10, 10, 30, 60)}, Refuted},
	} {
		got, err := SecondOpinion(row.ops, nil, "a", 5*time.Second)
		if err != nil || got.Status != row.want {
			t.Errorf("%s: %s, want %s: %s %v", row.name, got.Status, row.want, got.Why, err)
		}
	}
}
