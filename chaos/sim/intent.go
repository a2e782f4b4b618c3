package sim

import (
	"time"

	"github.com/weir-cluster/weir/chaos"
)

// intents are the writes that bookers draw, and how often each.
var intents = []struct {
	kind   chaos.Kind
	weight int
}{
	{chaos.Grant, 5},
	{chaos.Debit, 8},
	{chaos.Authorize, 7},
	{chaos.Extend, 2},
	{chaos.Capture, 7},
	{chaos.Release, 3},
	{chaos.Refund, 4},
	{chaos.Adjust, 2},
	{chaos.Void, 1},
	{chaos.Update, 1},
}

// intent draws a write.
func (h *hand) intent() chaos.Op {
	sum := 0
	for _, n := range intents {
		sum += n.weight
	}
	draw := h.random.IntN(sum)
	for _, n := range intents {
		if draw -= n.weight; draw < 0 {
			return h.intentOf(n.kind)
		}
	}
	return h.intentOf(chaos.Debit)
}

// intentOf draws a write of a kind, or a debit when there is nothing to do such a thing to.
func (h *hand) intentOf(kind chaos.Kind) chaos.Op {
	op := chaos.Op{Kind: kind, Account: h.account(), Cost: 1 + h.random.Int64N(sampleMicros), Key: h.key(kind.String())}
	switch kind {
	case chaos.Grant:
		return h.grant(op)
	case chaos.Authorize:
		return h.hold(op)
	case chaos.Extend, chaos.Capture, chaos.Release:
		if hold, ok := h.pick(&h.desk.holds); ok {
			return h.toHold(op, hold)
		}
	case chaos.Refund:
		if charge, ok := h.pick(&h.desk.charges); ok {
			op.Account, op.Ask.Of = charge.Account, charge.Key
			if h.random.IntN(2) == 0 {
				op.Cost = 0
			}
			if h.random.IntN(2) == 0 { // of what is all given back there is no more
				again := op
				again.Key = h.key("refund")
				h.next = append(h.next, again)
			}
			return op
		}
	case chaos.Void:
		if grant, ok := h.pick(&h.desk.grants); ok {
			op.Account, op.Ask.Of, op.Cost = grant.Account, grant.Key, 0
			return op
		}
	case chaos.Adjust:
		return h.adjust(op)
	case chaos.Update:
		return h.update(op)
	}
	op.Kind, op.Ask.Overshoot = chaos.Debit, h.one("deny", "deny", "cap", "overdraw")
	h.desk.put(&h.desk.charges, op)
	return op
}

func (h *hand) one(of ...string) string { return of[h.random.IntN(len(of))] }

func (h *hand) between(from, to time.Duration) time.Duration {
	const unit = 100 * time.Millisecond
	return from + time.Duration(h.random.Int64N(int64((to-from)/unit)+1))*unit
}

// grant draws one; only those of accounts that no check meets end, recur or are taken back.
func (h *hand) grant(op chaos.Op) chaos.Op {
	op.Cost, op.Ask.Credit = grantMicros, h.one("included", "promo", "credit")
	if overdraftOf(op.Account) == 0 {
		return op
	}
	op.Cost = shortMicros
	switch h.random.IntN(6) {
	case 0:
		op.Ask.Every, op.Ask.Expires = "day", h.record.now()+h.between(2*time.Second, 30*time.Second)
	case 1, 2:
		op.Ask.Expires = h.record.now() + h.between(4*time.Second, 20*time.Second)
	}
	h.desk.put(&h.desk.grants, op)
	return op
}

// hold draws one, which others may use from now on, also before it has come. Some are released before they are asked for.
func (h *hand) hold(op chaos.Op) chaos.Op {
	op.Ask.TTL, op.Ask.Partial = h.between(holdShort, holdLong), h.random.IntN(3) == 0
	op.Ask.OnExpire, op.Ask.Late = h.one("", "", "", "capture"), h.one("", "", "", "reject")
	if h.random.IntN(3) == 0 {
		op.Ask.TTL = holdLonger
	}
	h.desk.put(&h.desk.holds, op)
	h.desk.put(&h.desk.charges, op)
	if h.random.IntN(12) == 0 {
		h.next = append(h.next, op)
		return chaos.Op{Kind: chaos.Release, Account: op.Account, Key: h.key("release"), Ask: chaos.Ask{Of: op.Key}}
	}
	return op
}

// toHold draws what is done to one.
func (h *hand) toHold(op, hold chaos.Op) chaos.Op {
	op.Account, op.Ask.Of = hold.Account, hold.Key
	switch op.Kind {
	case chaos.Extend:
		if h.random.IntN(2) == 0 {
			op.Ask.TTL = h.between(holdShort, holdLong)
		}
		if op.Ask.TTL > 0 && h.random.IntN(2) == 0 {
			op.Cost = 0
		}
	case chaos.Capture:
		op.Ask.Final, op.Ask.Overshoot = h.random.IntN(2) == 0, h.one("cap", "deny", "overdraw")
		switch draw := h.random.IntN(6); {
		case draw == 0 && op.Ask.Final:
			op.Cost = 0
		case draw < 2:
			op.Cost *= 20 // more than is held, and often than there is
		}
	default:
		op.Cost = 0
	}
	return op
}

func (h *hand) adjust(op chaos.Op) chaos.Op {
	op.Ask.Credit, op.Ask.Memo = h.one("included", "promo", "credit"), "a drill"
	if h.random.IntN(2) == 0 {
		op.Cost = -op.Cost
	}
	if overdraftOf(op.Account) > 0 && h.random.IntN(3) == 0 {
		op.Cost, op.Ask.Credit = max(op.Cost, -op.Cost), "overdraft"
	}
	return op
}

// update draws a change of what an account may; none is blocked, or without its consent to pay, for long.
func (h *hand) update(op chaos.Op) chaos.Op {
	op.Account, op.Cost = h.one("b0", "b1"), 0
	op.Ask.Memo, op.Ask.Credit, op.Ask.Partial = "a drill", h.one("blocked", "use_credits", ""), h.random.IntN(2) == 0
	if op.Ask.Credit == "" {
		op.Cost = overdraft / (1 + h.random.Int64N(2))
	}
	if undo := op; op.Ask.Credit != "" && op.Ask.Partial == (op.Ask.Credit == "blocked") {
		undo.Key, undo.Ask.Partial = h.key("update"), !op.Ask.Partial
		h.next = append(h.next, undo)
	}
	return op
}
