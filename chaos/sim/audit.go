package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	auditTries   = 10
	entriesPage  = 256
	digestEvery  = 16 // entries of the log
	caughtUpSpan = 8  // entries that a log may be short of the longest and still count as caught up
)

// audit asks each node what it knows: its view, every account and its movements; and compares the disks.
func (r *run) audit(ctx context.Context) {
	h := r.work.hand(1001)
	said := make(map[string]chaos.Event)
	for _, m := range r.c.all() {
		if runs, _ := r.c.up(m); !runs {
			continue
		}
		h.look(ctx, m, said)
		for i := range funded {
			account := fmt.Sprint("u", i)
			h.insist(ctx, m, chaos.Op{Kind: chaos.Balance, Account: account}, func(ctx context.Context, w *rest.Client, _ string) (chaos.Reply, error) {
				return balance(ctx, w, account)
			})
			h.insist(ctx, m, chaos.Op{Kind: chaos.Entries, Account: account}, func(ctx context.Context, w *rest.Client, _ string) (chaos.Reply, error) {
				entries, err := w.Entries(ctx, account, 0, entriesPage)
				return chaos.Reply{Entries: ofEntries(entries)}, err
			})
		}
	}
	r.digests()
}

// insist repeats a read until it is answered, a few times.
func (h *hand) insist(ctx context.Context, m *member, op chaos.Op, what func(context.Context, *rest.Client, string) (chaos.Reply, error)) {
	for range auditTries {
		if h.send(ctx, m, op, what) == chaos.OK {
			return
		}
	}
}

// digests notes, for every disk whose log is caught up, a sum over all entries up to some indexes: equal logs have
// equal sums. An entry that was snapshotted away leaves its disk out.
func (r *run) digests() {
	var longest uint64
	for _, m := range r.c.all() {
		_, top, _ := m.disk.log()
		longest = max(longest, top)
	}
	var whole []*member
	last := longest
	for _, m := range r.c.all() {
		low, top, _ := m.disk.log()
		if low == 1 && top+caughtUpSpan >= longest {
			whole = append(whole, m)
			last = min(last, top)
		}
	}
	for _, m := range whole {
		_, _, at := m.disk.log()
		sum := sha256.New()
		for i := uint64(1); i <= last; i++ {
			term, data := at(i)
			_, _ = sum.Write(binary.BigEndian.AppendUint64(nil, term)) // a hash takes all
			_, _ = sum.Write(data)
			if i%digestEvery == 0 || i == last {
				digest := hex.EncodeToString(sum.Sum(nil)[:8])
				r.record.event(chaos.Event{Node: m.name, What: "digest", Index: i, Digest: digest})
			}
		}
	}
	names := make([]string, len(whole))
	for i, m := range whole {
		names[i] = m.name
	}
	slices.Sort(names)
	r.record.event(chaos.Event{What: "audited", Index: last, Detail: fmt.Sprint(names)})
}
