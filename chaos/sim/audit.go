package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/weir-cluster/weir/chaos"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

const (
	auditTries   = 4
	leaders      = 3 // that tell what the accounts are
	digestEvery  = 16
	caughtUpSpan = 8 // entries that a log may be short of the longest and still count as caught up
	leadWithin   = 10 * time.Second
	// A follower that was cut off for long is asked again by the leader at intervals of up to 10 s.
	catchUpWithin = 30 * time.Second
	ownAge        = time.Hour // of a read: whatever a node's own replica has
)

// audit asks each node what it knows: its view, every account and its movements; compares the disks; and then ends the
// leader's process, so that other voters tell from their own state what the accounts are.
func (r *run) audit(ctx context.Context) {
	h := r.work.hand(1001)
	said := make(map[string]chaos.Event)
	for _, m := range r.c.all() {
		if runs, _ := r.c.up(m); !runs {
			continue
		}
		h.look(ctx, m, said)
		seen := make(map[string]uint64)
		for _, account := range accounts() {
			insist(func() bool { return h.balance(ctx, m, chaos.Op{Account: account}) == chaos.OK })
			insist(func() bool {
				was := seen[account]
				return h.list(ctx, m, account, seen) == chaos.OK && seen[account] < was+entriesPage
			})
		}
	}
	r.states(ctx)
	insist(func() bool { return h.replay(ctx, h.node(), consumer) == chaos.OK })
	for _, m := range r.c.all() {
		if runs, _ := r.c.up(m); runs {
			insist(func() bool { return h.replay(ctx, m, "") == chaos.OK })
		}
	}
	r.digests()
	var last *member
	for range leaders {
		next := r.leader(ctx, h, last)
		if last != nil {
			_ = r.c.start(last) // a configuration that was good before
		}
		if next == nil {
			return
		}
		for _, account := range accounts() {
			insist(func() bool { return r.account(ctx, next, account) == nil })
		}
		r.c.crash(next, false)
		last = next
	}
	_ = r.c.start(last)
}

// insist repeats what may fail, a few times.
func insist(is func() bool) {
	for range auditTries {
		if is() {
			return
		}
	}
}

// leader waits until all that run have one view, and a leader that is not the last one; nil when they do not in time. Views may
// still change after the faults are over, for a better deputy say: a look at one node before that and at another after it is
// no disagreement.
func (r *run) leader(ctx context.Context, h *hand, last *member) *member {
	var next *member
	err := until(leadWithin, func() bool {
		name, agreed := r.agreed(ctx, h, make(map[string]chaos.Event))
		next = r.c.find(name)
		return agreed && next != nil && next != last && r.c.serves(next)
	})
	if err != nil {
		return nil
	}
	return next
}

// account notes a sum over all that a leader answers about an account: the same at the same seq, whoever leads.
func (r *run) account(ctx context.Context, leader *member, account string) error {
	w, err := r.doors.rest(leader, bookTimeout)
	if err != nil {
		return err
	}
	s, err := w.Account(ctx, account)
	if err != nil {
		return err
	}
	entries, err := w.Entries(ctx, account, 0, entriesPage)
	if err != nil {
		return err
	}
	seq, what := s.Seq, "account "
	s.Index, s.Term, s.Time = 0, 0, time.Time{} // of the read itself
	if s.OpenHolds > 0 || overdraftOf(account) > 0 {
		s, what = client.Statement{}, "entries of " // what is due counts before it is booked
	}
	text, err := json.Marshal(struct {
		Statement client.Statement
		Entries   []client.Entry
	}{s, entries})
	if err != nil {
		return err
	}
	r.record.event(chaos.Event{Node: leader.name, What: "digest", Detail: what + account, Index: seq, Digest: digest(text)})
	return nil
}

// states waits until every node has the newest event for whoever asks for it, and notes the digest of each one's own ledger, which
// must be the same after as many commands. One that votes no more has stopped at fewer.
func (r *run) states(ctx context.Context) {
	_ = until(catchUpWithin, func() bool {
		newest, behind := uint64(0), false
		for _, m := range r.c.all() {
			if runs, _ := r.c.up(m); !runs {
				continue
			}
			w, err := r.doors.rest(m, bookTimeout)
			if err != nil {
				return false
			}
			s, err := w.LedgerStatus(ctx, client.Read{})
			newest = max(newest, s.Events)
			behind = behind || err != nil || !tells(ctx, w, newest)
		}
		return !behind
	}) // who is behind after that has not told all: that is judged
	for _, m := range r.c.all() {
		if runs, _ := r.c.up(m); !runs {
			continue
		}
		w, err := r.doors.rest(m, bookTimeout)
		if err != nil {
			continue
		}
		if s, err := w.LedgerStatus(ctx, client.Read{MaxStaleness: ownAge}); err == nil {
			r.record.event(chaos.Event{Node: m.name, What: "digest", Detail: "ledger", Index: s.Commands, Digest: s.Digest[:16]})
		}
	}
}

// tells says whether a node has an event.
func tells(ctx context.Context, w *rest.Client, seq uint64) bool {
	if seq == 0 {
		return true
	}
	_, upTo, err := w.Events(ctx, rest.EventQuery{After: seq - 1, Limit: 1})
	return err == nil && upTo >= seq
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
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
				r.record.event(chaos.Event{Node: m.name, What: "digest", Detail: "log", Index: i, Digest: hex.EncodeToString(sum.Sum(nil)[:8])})
			}
		}
	}
	names := make([]string, len(whole))
	for i, m := range whole {
		names[i] = m.name
	}
	slices.Sort(names)
	var snapshots uint64
	for _, m := range r.c.all() {
		snapshots += m.disk.stats().Taken
	}
	r.record.event(chaos.Event{What: "audited", Index: last, Detail: fmt.Sprintf("logs of %v, %d snapshots were taken", names, snapshots)})
}
