package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// course drives a machine, its replica and the twin through one random log.
type course struct {
	*desk
	r       *rapid.T
	replica *Machine
	w       *twin
	grants  int
	loans   []*loaned
	past    []past
}

type past struct {
	at             Stamp
	command, reply []byte
}

// Propose applies a command to both replicas, which must agree on every byte, and keep every invariant.
func (c *course) Propose(_ context.Context, command []byte) ([]byte, error) {
	c.at.Index++
	reply, err := c.m.Apply(c.at, command)
	other, otherErr := c.replica.Apply(c.at, command)
	if err != nil || otherErr != nil || !bytes.Equal(reply, other) {
		c.r.Fatalf("replica answers %q, machine %q; %v, %v", other, reply, otherErr, err)
	}
	c.past = append(c.past, past{c.at, command, reply})
	return reply, nil
}

func (c *course) text(r Receipt, err error) string {
	for want, word := range map[error]string{
		ErrConflict: "conflict", ErrInvalid: "invalid", ErrNoHold: "nohold", ErrNoCharge: "nocharge", ErrNoGrant: "nogrant",
	} {
		if errors.Is(err, want) {
			return word
		}
	}
	if err != nil {
		c.r.Fatal(err)
	}
	text := fmt.Sprintf("%s %d balance %d expired %d forgiven %d:", r.Outcome, r.Amount, r.BalanceAfter, r.Expired, r.Forgiven)
	for _, p := range r.Parts {
		id := p.Grant
		if p.Kind == Overdraft {
			id = "overdraft"
		}
		text += fmt.Sprintf(" %s %d", id, p.Amount)
	}
	if r.Hold != "" {
		text += fmt.Sprintf(" hold %s %d %d %d", r.State, r.Held, r.Captured, r.Refunded)
	}
	if r.Allowance != 0 && r.Outcome != AllowanceClosed {
		text += fmt.Sprintf(" allowance %s %d %d %d items %d ttl %d revoked %v credited %d", r.State, r.Held, r.Captured, r.Refunded, r.Items,
			r.ExpiresIn/time.Second, r.Revoked, r.Credited)
	}
	if r.Late {
		text += " late"
	}
	if r.Replayed {
		text += " replayed"
	}
	return text
}

func (c *course) same(what, got, want string) {
	c.w.empties()
	if got != want {
		c.r.Fatalf("%s: machine says %q, twin %q", what, got, want)
	}
}

func (c *course) number(low, high int, what string) int {
	return rapid.IntRange(low, high).Draw(c.r, what)
}

func (c *course) key() string     { return fmt.Sprint("k", c.number(0, 60, "key")) }
func (c *course) hold() string    { return fmt.Sprint("h", c.number(0, 3, "hold")) }
func (c *course) account() string { return []string{"a", "b"}[c.number(0, 1, "account")] }

func (c *course) order() []Kind {
	return rapid.SampledFrom([][]Kind{
		{Included, Promo, Credit, Overdraft}, {Included, Promo, Credit}, {Credit, Included}, {Overdraft, Promo},
	}).Draw(c.r, "order")
}

// only is an attribute that a grant or a debit may have.
func (c *course) only() (string, []Label) {
	if c.number(0, 3, "only") > 0 {
		return "", nil
	}
	return "x", []Label{{"model", "x"}}
}

func (c *course) doGrant() {
	c.grants++
	id, labels := c.only()
	g := Grant{
		Key: c.key(), Account: c.account(), Grant: fmt.Sprint("g", c.grants), Kind: Kind(c.number(0, 2, "kind")),
		Amount: Credits(c.number(1, 20, "amount")), Priority: uint8(c.number(0, 1, "priority")), AppliesTo: labels,
	}
	n := &twinGrant{id: g.Grant, kind: int(g.Kind), priority: int(g.Priority), left: int(g.Amount), only: id}
	if h := c.number(-2, 4, "effective"); h != 0 {
		n.effective = c.w.now/3600*3600 + h*3600
		g.Effective = time.Unix(int64(n.effective), 0)
	}
	if h := c.number(0, 40, "expires"); h > 4 {
		n.expires = max(c.w.now, n.effective)/3600*3600 + h*3600
		g.Expires = time.Unix(int64(n.expires), 0)
	}
	want := c.w.once(g.Key, g.Account, "grant "+n.id, func(*twinKey) string {
		a := c.w.touch(g.Account)
		amount := n.left
		a.grants, a.granted = append(a.grants, n), a.granted+amount
		c.w.touch(g.Account)
		return c.w.receipt(a, "done", amount, 0, 0, []*twinTake{{from: n, spent: amount}})
	})
	c.same("grant", c.text(c.Grant(c.t.Context(), g)), want)
}

func (c *course) doDebit() {
	only, labels := c.only()
	d := Debit{
		Key: c.key(), Account: c.account(), Amount: Credits(c.number(1, 30, "amount")), Order: c.order(), Attributes: labels,
		Overshoot: Overshoot(c.number(0, 2, "overshoot")),
	}
	intent := fmt.Sprint("debit ", d.Account, d.Amount, d.Order, only, d.Overshoot)
	want := c.w.once(d.Key, d.Account, intent, func(k *twinKey) string { return c.w.debit(k, int(d.Amount), d.Order, only, d.Overshoot) })
	c.same("debit", c.text(c.Debit(c.t.Context(), d)), want)
}

func (c *course) doReturn() {
	b := Return{Key: c.key(), Account: c.account(), Debit: c.key(), Amount: Credits(c.number(0, 10, "amount"))}
	if b.Key == b.Debit {
		return
	}
	intent := fmt.Sprint("return ", b.Account, b.Debit, b.Amount)
	want := c.w.once(b.Key, b.Account, intent, func(*twinKey) string { return c.w.giveBack(b.Account, b.Debit, int(b.Amount)) })
	c.same("return", c.text(c.Return(c.t.Context(), b)), want)
}

func (c *course) doAuthorize() {
	only, labels := c.only()
	a := Authorize{
		Key: c.hold(), Account: c.account(), Amount: Credits(c.number(1, 15, "amount")), Partial: c.number(0, 1, "partial") == 1,
		TTL: time.Duration(rapid.SampledFrom([]int{1, 10, 40, 80}).Draw(c.r, "ttl")) * time.Hour, Order: c.order(), Attributes: labels,
		OnExpire: OnExpire(max(c.number(-2, 1, "on expire"), 0)), Late: Late(c.number(0, 1, "late")),
	}
	n := &twinHold{order: a.Order, only: only, rejects: a.Late == LateReject, finishing: a.OnExpire == CaptureRest}
	want := c.w.once(a.Key, a.Account, fmt.Sprint("authorize ", a), func(*twinKey) string {
		return c.w.authorize(a.Key, a.Account, int(a.Amount), int(a.TTL/time.Second), a.Partial, n)
	})
	if h := c.w.holds[a.Key]; h != nil && h != n { // the key answers before the hold does
		c.w.cells["authorize "+h.state+" key"]++
	}
	c.same("authorize", c.text(c.Authorize(c.t.Context(), a)), want)
}

func (c *course) doExtend() {
	x := Extend{Key: c.key(), Hold: c.hold(), Amount: Credits(c.number(0, 8, "amount")), TTL: time.Duration(c.number(0, 20, "ttl")) * time.Hour}
	if x.Amount == 0 && x.TTL == 0 {
		return
	}
	want := c.w.once(x.Key, "", fmt.Sprint("extend ", x), func(*twinKey) string {
		return c.w.extend(x.Hold, int(x.Amount), int(x.TTL/time.Second))
	})
	c.same("extend", c.text(c.Extend(c.t.Context(), x)), want)
}

func (c *course) doCapture() {
	k := Capture{
		Key: c.key(), Hold: c.hold(), Amount: Credits(c.number(0, 20, "amount")), Final: c.number(0, 1, "final") == 1,
		Overshoot: Overshoot(c.number(0, 2, "overshoot")),
	}
	if k.Amount == 0 && !k.Final {
		return
	}
	want := c.w.once(k.Key, "", fmt.Sprint("capture ", k), func(*twinKey) string {
		return c.w.capture(k.Hold, int(k.Amount), k.Final, k.Overshoot)
	})
	c.same("capture", c.text(c.Capture(c.t.Context(), k)), want)
}

func (c *course) doRelease() {
	b := Release{Key: c.key(), Hold: c.hold()}
	want := c.w.once(b.Key, "", fmt.Sprint("release ", b), func(*twinKey) string { return c.w.release(b.Hold) })
	c.same("release", c.text(c.Release(c.t.Context(), b)), want)
}

func (c *course) doRefund() {
	f := Refund{Key: c.key(), Charge: c.hold(), Amount: Credits(c.number(0, 10, "amount"))}
	if c.number(0, 2, "of a debit") == 0 {
		f.Charge = c.key()
	}
	if f.Key == f.Charge {
		return
	}
	want := c.w.once(f.Key, "", fmt.Sprint("refund ", f), func(*twinKey) string { return c.w.refund(f.Key, f.Charge, int(f.Amount)) })
	c.same("refund", c.text(c.Refund(c.t.Context(), f)), want)
}

func (c *course) doOffice() {
	account := c.account()
	switch c.number(0, 3, "office") {
	case 0:
		v := VoidGrant{Key: c.key(), Account: account, Grant: fmt.Sprint("g", c.number(1, max(c.grants, 1), "grant"))}
		want := c.w.once(v.Key, account, fmt.Sprint("void ", v), func(*twinKey) string { return c.w.void(account, v.Grant) })
		c.same("void", c.text(c.Void(c.t.Context(), v)), want)
	case 1:
		u := UpdateAccount{Key: c.key(), Account: account, Blocked: new(bool)}
		*u.Blocked = c.number(0, 3, "blocked") == 0
		want := c.w.once(u.Key, account, fmt.Sprint("update ", account, *u.Blocked), func(*twinKey) string {
			a := c.w.touch(account)
			a.blocked = *u.Blocked
			return c.w.receipt(a, "done", 0, 0, 0, nil)
		})
		c.same("update", c.text(c.Update(c.t.Context(), u)), want)
	default:
		j := Adjust{Key: c.key(), Account: account, Amount: Credits(c.number(-8, 8, "amount")), Kind: Kind(c.number(0, 3, "kind")), Memo: "m"}
		if j.check() != nil {
			return
		}
		want := c.w.once(j.Key, account, fmt.Sprint("adjust ", j), func(*twinKey) string {
			return c.w.adjust(j.Key, account, int(j.Amount), j.Kind)
		})
		c.same("adjust", c.text(c.Adjust(c.t.Context(), j)), want)
	}
}

func (c *course) doTick() {
	if _, err := c.upkeep(c.t.Context(), &tick{}); err != nil {
		c.r.Fatal(err)
	}
	c.w.tick()
	c.w.empties()
}

// doRepeat applies an earlier command again: while its key is remembered, that changes nothing but the count of attempts.
func (c *course) doRepeat() {
	p := rapid.SampledFrom(c.past).Draw(c.r, "past")
	if o := op(p.command[1]); p.reply[1] != repliesReceipt || o == opLend || o == opReport || forgotten(hourOf(p.at.Wall.UnixNano()), c.m.head.hour()) {
		return
	}
	before, events := sums{c.m.accounts.sum, c.m.holds.sum, 0, 0}, c.m.head.seq
	same := c.at
	same.Wall, same.Elapsed = time.Unix(0, c.m.head.now), c.m.head.elapsed
	first, _ := decodeReceipt(string(p.reply))
	var reply []byte
	for _, m := range []*Machine{c.m, c.replica} {
		var err error
		reply, err = m.Apply(same, p.command)
		again, _ := decodeReceipt(string(reply))
		if first.Replayed, first.Attempts = true, again.Attempts; err != nil || fmt.Sprint(first) != fmt.Sprint(again) || again.Attempts < 2 {
			c.r.Fatalf("repeating %q answers %+v, first was %+v", p.command, again, first)
		}
	}
	if after := (sums{c.m.accounts.sum, c.m.holds.sum, 0, 0}); after != before || c.m.head.seq != events {
		c.r.Fatalf("repeating %q changed the state", p.command)
	}
	c.past = append(c.past, past{same, p.command, reply})
}

// doSnapshot replaces the replica by one restored from a snapshot that was captured, then overtaken by the log, and
// only then written. What it missed it applies afterwards.
func (c *course) doSnapshot() {
	write, err := c.m.Snapshot()
	if err != nil {
		c.r.Fatal(err)
	}
	digest, from := c.m.Digest(), len(c.past)
	for range c.number(0, 3, "meanwhile") {
		c.doDebit()
		c.doAuthorize()
		c.doCapture()
		c.doLend()
		c.doReport()
	}
	var b bytes.Buffer
	restored := NewMachine(c.m.config)
	if err := errors.Join(write(&b), restored.Restore(&b)); err != nil {
		c.r.Fatal(err)
	}
	if restored.Digest() != digest || restored.Accounts() != 2 {
		c.r.Fatal("the restored state differs from the captured one")
	}
	for _, p := range c.past[from:] {
		if reply, err := restored.Apply(p.at, p.command); err != nil || !bytes.Equal(reply, p.reply) {
			c.r.Fatalf("restored machine answers %q, first was %q; %v", reply, p.reply, err)
		}
	}
	c.replica = restored
}

// doRead compares what the books and holds are, brought up to now or as a query foresees it.
func (c *course) doRead() {
	for id := range c.w.accounts {
		got, err := c.Account(c.t.Context(), id)
		a := c.w.touch(id)
		if err != nil || got.Books != a.books() || got.Balance != Credits(a.balance()) || got.Forgiven != Credits(a.forgiven) ||
			got.WrittenOff != Credits(a.writtenOff) {
			c.r.Fatalf("account %s: %+v, %v; twin has %v, balance %d, forgiven %d, written off %d", id, got, err, a.books(), a.balance(), a.forgiven, a.writtenOff)
		}
		if _, err := c.upkeep(c.t.Context(), &tick{}); err != nil { // as the twin's touch booked it
			c.r.Fatal(err)
		}
	}
	c.w.tick()
	c.w.empties()
	for id := range c.w.holds {
		h := c.w.held(id)
		got, err := c.Hold(c.t.Context(), id, Read{})
		if h == nil {
			if !errors.Is(err, ErrNoHold) {
				c.r.Fatalf("hold %s: %v, twin has none", id, err)
			}
			continue
		}
		held, spent, back := h.sum()
		if err != nil || got.State.String() != h.state || got.Held != Credits(held) || got.Captured != Credits(spent) || got.Refunded != Credits(back) ||
			got.Authorized != Credits(h.authorized) {
			c.r.Fatalf("hold %s: %+v, %v; twin has %+v", id, got, err, h)
		}
	}
}

// check looks at what must hold after every command: conservation, floors, and that what is held is what holds have left.
func (c *course) check() {
	held := map[Book]Credits{}
	c.m.holds.each(func(record string) bool {
		var h hold
		r := reader(record)
		if h.wire(&r); r.end() != nil || !h.sound() {
			c.r.Fatalf("hold %+v", h)
		}
		held[h.book()] += h.held()
		return true
	})
	c.m.accounts.each(func(record string) bool {
		var a account
		a.must(record)
		if err := a.audit(); err != nil {
			c.r.Fatal(err)
		}
		held[Held] -= a.books[Held]
		held[Lent] -= a.books[Lent]
		return true
	})
	if held[Held] != 0 || held[Lent] != 0 {
		c.r.Fatalf("holds and accounts differ by %v", held)
	}
}

func (c *course) step() {
	if c.number(0, 3, "wait") == 0 {
		c.pass(time.Duration(c.number(1, 50, "tens of minutes")) * 10 * time.Minute)
		c.w.now, c.w.elapsed = int(c.at.Wall.Unix()), int(c.at.Elapsed/time.Second)
	}
	steps := []func(){
		c.doGrant, c.doGrant, c.doDebit, c.doDebit, c.doReturn, c.doReturn, c.doAuthorize, c.doAuthorize, c.doAuthorize, c.doExtend,
		c.doCapture, c.doCapture, c.doRelease, c.doLend, c.doLend, c.doReport, c.doReport, c.doReport, c.doAllowances, c.doRefund, c.doRefund, c.doOffice, c.doTick, c.doRepeat, c.doRead, c.doSnapshot,
	}
	steps[c.number(0, len(steps)-1, "step")]()
	c.check()
}

// Duplicates, reorderings and lost replies are all in it, for every command draws its keys, holds and charges from a few
// (O22, O26, O27, S6, S7, L1-L4, L7). Whatever came, the journal alone leads to the same balances, holds and books (O20,
// O23). TestHoldTable has LEDGER §3.2 cell by cell; here each has to be met too once there are enough runs.
func TestMachineDoesWhatItsTwinDoes(t *testing.T) {
	t.Parallel()
	cells, runs := map[string]int{}, 0
	rapid.Check(t, func(r *rapid.T) {
		config := DefaultConfig()
		config.Chunk, config.Share, config.Direct, config.Grace = twinChunk, twinShare, twinDirect, twinGrace*time.Second
		c := &course{desk: newDesk(t, config), r: r}
		c.replica = NewMachine(c.m.config) // the same journal too: it refuses an event with other bytes
		c.Ledger = New(c)
		c.w = newTwin()
		c.w.cells = cells
		runs++
		c.w.now = int(c.at.Wall.Unix())
		for _, id := range []string{"a", "b"} {
			limit := c.number(0, 15, "overdraft")
			c.w.accounts[id] = &twinAccount{limit: limit, asked: map[string]*twinLoan{}}
			c.done(c.Open(t.Context(), OpenAccount{Key: "open " + id, Account: id, UseCredits: true, Overdraft: Credits(limit)}))
		}
		for range c.number(1, 150, "steps") {
			c.step()
		}
		if c.m.Digest() != c.replica.Digest() {
			r.Fatal("equal logs led to other states")
		}
		audit, err := Verify(c.log.all(), c.m)
		if err != nil || audit.Found > 0 || !audit.Whole() {
			r.Fatalf("%v, %q", err, audit.Differences)
		}
	})
	for _, cell := range []string{
		"report open", "report expired", "report gone", "final open", "final expired", "final gone", "item credited", "item undone", "late and short",
	} {
		t.Logf("%-22s %d", cell, cells[cell])
		if runs >= 1000 && cells[cell] == 0 {
			t.Errorf("%s was not met", cell)
		}
	}
	for _, event := range []string{"authorize", "capture", "capture more", "release", "extend", "refund", "expire"} {
		for _, state := range []string{"absent", "open", "captured", "released", "expired", "refused"} {
			cell := event + " " + state
			if event == "expire" && state == "absent" {
				continue // there is nothing that could be due
			}
			if cell == "authorize refused" {
				cell += " key" // key and hold are forgotten in the same moment
			}
			t.Logf("%-22s %d", cell, cells[cell])
			if runs >= 1000 && cells[cell] == 0 {
				t.Errorf("%s was not met", cell)
			}
		}
	}
}
