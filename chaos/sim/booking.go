package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	deskMax       = 64   // holds, charges and grants that bookers know of, of each
	overdraft     = 1500 // of the accounts that may owe, which are mostly short of credit
	shortMicros   = 500  // their grants
	holdShort     = time.Second
	holdLong      = 10 * time.Second
	holdLonger    = 10 * time.Minute // ends in no run
	staleLongest  = 10 * time.Second
	booksOnly     = 2 // accounts that no check meets: what ends by itself, what is taken back and what is changed is theirs
	repeatsAtOnce = 5
	day           = 24 * time.Hour
)

// accounts are those of the ledger: of the users that have credit, and those for books only.
func accounts() []string {
	var all []string
	for i := range funded {
		all = append(all, fmt.Sprint("u", i))
	}
	for i := range booksOnly {
		all = append(all, fmt.Sprint("b", i))
	}
	return all
}

// overdraftOf is how much an account may owe at most.
func overdraftOf(account string) int64 {
	if account[0] == 'b' {
		return overdraft
	}
	return 0
}

// account draws one.
func (h *hand) account() string {
	if h.random.IntN(2) == 0 {
		return fmt.Sprint("b", h.random.IntN(booksOnly))
	}
	return h.user(funded)
}

// desk is what bookers know of each other's writes, the newest last: they capture and refund each other's.
type desk struct {
	mu                     sync.Mutex
	holds, charges, grants []chaos.Op
}

func (d *desk) put(into *[]chaos.Op, o chaos.Op) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *into = append(*into, o); len(*into) > deskMax {
		*into = slices.Delete(*into, 0, 1)
	}
}

// pick draws one of those, mostly a new one.
func (h *hand) pick(from *[]chaos.Op) (o chaos.Op, ok bool) {
	h.desk.mu.Lock()
	defer h.desk.mu.Unlock()
	n := len(*from)
	if n == 0 {
		return chaos.Op{}, false
	}
	if h.random.IntN(4) > 0 {
		return (*from)[n-1-h.random.IntN(min(n, 4))], true
	}
	return (*from)[h.random.IntN(n)], true
}

// book writes or reads, and repeats a write with its key until its outcome is known, and now and then after, also much later;
// and sometimes it uses the key of an old one for something else.
func (h *hand) book(ctx context.Context) {
	var op chaos.Op
	switch draw := h.random.IntN(24); {
	case len(h.next) > 0:
		op, h.next = h.next[0], h.next[1:]
	case draw < 4 && len(h.past) > 0:
		old := h.past[h.random.IntN(len(h.past))]
		if draw == 0 && old.Outcome == chaos.OK {
			old = other(old)
		}
		h.write(ctx, h.node(), old)
		return
	case draw < 11:
		h.read(ctx)
		return
	default:
		op = h.intent()
	}
	for tries := range repeatsAtOnce {
		outcome := h.write(ctx, h.node(), op)
		if tries == 0 {
			h.remember(op, outcome)
		}
		if again := outcome == chaos.Unknown || h.random.IntN(6) == 0; !again || !pause(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// remember keeps a write to be repeated, with what came of it first.
func (h *hand) remember(op chaos.Op, outcome chaos.Outcome) {
	op.Outcome = outcome
	if len(h.past) < pastMax {
		h.past = append(h.past, op)
	} else {
		h.past[h.random.IntN(pastMax)] = op
	}
}

// other is another write with the same key.
func other(op chaos.Op) chaos.Op {
	if op.Kind == chaos.Grant {
		op.Cost++
	} else {
		op.Ask.Memo += "!"
	}
	return op
}

// read reads an account: as it is, as it was a moment ago, or as far as this hand knows of it.
func (h *hand) read(ctx context.Context) {
	op := chaos.Op{Account: h.account()}
	switch h.random.IntN(4) {
	case 0:
		op.Stale = time.Second + time.Duration(h.random.Int64N(int64(staleLongest)))
	case 1:
		op.MinIndex = h.newest
	}
	h.balance(ctx, h.node(), op)
}

// balance reads an account, as new as op asks for.
func (h *hand) balance(ctx context.Context, m *member, op chaos.Op) chaos.Outcome {
	op.Kind = chaos.Balance
	return h.send(ctx, m, op, func(ctx context.Context, w *rest.Client) (chaos.Reply, error) {
		s, err := w.AccountAsOf(ctx, op.Account, client.Read{MaxStaleness: op.Stale, MinIndex: op.MinIndex})
		return chaos.Reply{
			Seq: s.Seq, Event: s.Event, Index: s.Index, Term: s.Term, BalanceAfterMicros: s.BalanceMicros, Books: chaos.BooksOf(s.Books),
		}, err
	})
}

// list reads the movements of an account after those that were seen.
func (h *hand) list(ctx context.Context, m *member, account string, seen map[string]uint64) chaos.Outcome {
	op := chaos.Op{Kind: chaos.Entries, Account: account}
	return h.send(ctx, m, op, func(ctx context.Context, w *rest.Client) (chaos.Reply, error) {
		entries, err := w.Entries(ctx, account, seen[account], entriesPage)
		if len(entries) > 0 {
			seen[account] = entries[len(entries)-1].Seq
		}
		return chaos.Reply{Entries: ofEntries(entries)}, err
	})
}

// send makes one call over HTTP and notes it.
func (h *hand) send(ctx context.Context, m *member, op chaos.Op, what func(context.Context, *rest.Client) (chaos.Reply, error)) chaos.Outcome {
	w, err := h.doors.rest(m, bookTimeout)
	if err != nil {
		return chaos.Failed
	}
	op.Client, op.Node, op.Outcome = h.id, m.name, chaos.Unknown
	index := h.record.invoke(op)
	reply, err := what(context.WithoutCancel(ctx), w)
	if p := (*rest.Problem)(nil); errors.As(err, &p) {
		reply.Reason = p.Reason
	}
	h.newest = max(h.newest, reply.Index)
	return h.record.settle(index, ofREST(err), reply, err).Outcome
}

// write asks a node for what an operation says.
func (h *hand) write(ctx context.Context, m *member, op chaos.Op) chaos.Outcome {
	return h.send(ctx, m, op, func(ctx context.Context, w *rest.Client) (chaos.Reply, error) {
		r, err := h.call(ctx, w, &op)
		return ofReceipt(r), err
	})
}

func (h *hand) call(ctx context.Context, w *rest.Client, o *chaos.Op) (client.Receipt, error) {
	a, key, ms := &o.Ask, o.Key, o.Ask.TTL.Milliseconds()
	switch o.Kind {
	case chaos.Grant:
		g := client.Grant{ID: key, Kind: a.Credit, AmountMicros: o.Cost, Every: a.Every}
		switch {
		case a.Every != "":
			g.Effective = h.record.began.Add(a.Expires - day)
		case a.Expires > 0:
			g.Expires = h.record.began.Add(a.Expires)
		}
		return w.Grant(ctx, key, o.Account, g)
	case chaos.Debit:
		return w.Debit(ctx, key, o.Account, client.Debit{AmountMicros: o.Cost, Overshoot: a.Overshoot, Memo: a.Memo})
	case chaos.Authorize:
		return w.Authorize(ctx, key, o.Account, client.Hold{AmountMicros: o.Cost, TTLMS: ms, Partial: a.Partial, OnExpire: a.OnExpire, Late: a.Late, Memo: a.Memo})
	case chaos.Extend:
		return w.Extend(ctx, key, a.Of, client.Extension{AmountMicros: o.Cost, TTLMS: ms, Memo: a.Memo})
	case chaos.Capture:
		return w.Capture(ctx, key, a.Of, client.Capture{AmountMicros: o.Cost, Final: a.Final, Overshoot: a.Overshoot, Memo: a.Memo})
	case chaos.Release:
		return w.Release(ctx, key, a.Of, a.Memo)
	case chaos.Refund:
		return w.Refund(ctx, key, a.Of, client.Refund{AmountMicros: o.Cost, Memo: a.Memo})
	case chaos.Adjust:
		return w.Adjust(ctx, key, o.Account, client.Adjustment{AmountMicros: o.Cost, Kind: a.Credit, Memo: a.Memo})
	case chaos.Void:
		return w.VoidGrant(ctx, key, o.Account, a.Of, a.Memo)
	}
	change := client.AccountChange{Memo: a.Memo}
	yes, owes := a.Partial, o.Cost
	switch a.Credit {
	case "blocked":
		change.Blocked = &yes
	case "use_credits":
		change.UseCredits = &yes
	default:
		change.OverdraftMicros = &owes
	}
	return w.UpdateAccount(ctx, key, o.Account, change)
}
