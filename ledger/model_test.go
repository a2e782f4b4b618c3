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
	past    []past
}

type past struct {
	at             Stamp
	command, reply []byte
}

// Propose applies a command to both replicas, which must agree on every byte.
func (c *course) Propose(_ context.Context, command []byte) ([]byte, error) {
	c.at.Index++
	reply := c.m.Apply(c.at, command)
	if other := c.replica.Apply(c.at, command); !bytes.Equal(reply, other) {
		c.r.Fatalf("replica answers %q, machine %q", other, reply)
	}
	c.past = append(c.past, past{c.at, command, reply})
	return reply, nil
}

func (c *course) text(r Receipt, err error) string {
	for want, word := range map[error]string{ErrConflict: "conflict", ErrInvalid: "invalid"} {
		if errors.Is(err, want) {
			return word
		}
	}
	if err != nil {
		c.r.Fatal(err)
	}
	text := fmt.Sprintf("%s %d balance %d expired %d:", r.Outcome, r.Amount, r.BalanceAfter, r.Expired)
	for _, p := range r.Parts {
		id := p.Grant
		if p.Kind == Overdraft {
			id = "overdraft"
		}
		text += fmt.Sprintf(" %s %d", id, p.Amount)
	}
	if r.Replayed {
		text += " replayed"
	}
	return text
}

func (c *course) same(what, got, want string) {
	if got != want {
		c.r.Fatalf("%s: machine says %q, twin %q", what, got, want)
	}
}

func (c *course) key() string { return fmt.Sprint("k", rapid.IntRange(0, 40).Draw(c.r, "key")) }

func (c *course) doGrant() {
	c.grants++
	g := Grant{
		Key: c.key(), Account: "a", Grant: fmt.Sprint("g", c.grants), Kind: Kind(rapid.IntRange(0, 2).Draw(c.r, "kind")),
		Amount: Credits(rapid.IntRange(1, 20).Draw(c.r, "amount")), Priority: uint8(rapid.IntRange(0, 1).Draw(c.r, "priority")),
	}
	n := &twinGrant{id: g.Grant, kind: int(g.Kind), priority: int(g.Priority), left: int(g.Amount)}
	if h := rapid.IntRange(-2, 4).Draw(c.r, "effective"); h != 0 {
		n.effective = c.w.now/3600*3600 + h*3600
		g.Effective = time.Unix(int64(n.effective), 0)
	}
	if h := rapid.IntRange(0, 6).Draw(c.r, "expires"); h != 0 {
		n.expires = max(c.w.now, n.effective)/3600*3600 + h*3600
		g.Expires = time.Unix(int64(n.expires), 0)
	}
	want := c.w.once(g.Key, "grant "+n.id, func(*twinKey) string {
		amount := n.left
		c.w.grants = append(c.w.grants, n)
		c.w.granted += amount
		c.w.walk(c.w.now)
		return c.w.receipt("done", amount, 0, []*twinTake{{n, amount}})
	})
	c.same("grant", c.text(c.Grant(c.t.Context(), g)), want)
}

func (c *course) doDebit() {
	order := rapid.SampledFrom([][]Kind{
		{Included, Promo, Credit, Overdraft}, {Credit, Included}, {Overdraft, Promo}, {Promo},
	}).Draw(c.r, "order")
	d := Debit{Key: c.key(), Account: "a", Amount: Credits(rapid.IntRange(1, 30).Draw(c.r, "amount")), Order: order}
	intent := fmt.Sprint("debit ", d.Amount, order)
	want := c.w.once(d.Key, intent, func(k *twinKey) string { return c.w.debit(k, int(d.Amount), order) })
	c.same("debit", c.text(c.Debit(c.t.Context(), d)), want)
}

func (c *course) doReturn() {
	b := Return{Key: c.key(), Account: "a", Debit: c.key(), Amount: Credits(rapid.IntRange(0, 10).Draw(c.r, "amount"))}
	if b.Key == b.Debit {
		return
	}
	intent := fmt.Sprint("return ", b.Debit, b.Amount)
	want := c.w.once(b.Key, intent, func(*twinKey) string { return c.w.giveBack(b.Debit, int(b.Amount)) })
	c.same("return", c.text(c.Return(c.t.Context(), b)), want)
}

// doRepeat applies an earlier command again: while its key is remembered, that changes nothing at all.
func (c *course) doRepeat() {
	p := rapid.SampledFrom(c.past).Draw(c.r, "past")
	if p.reply[1] != repliesReceipt || forgotten(hourOf(p.at.Wall.UnixNano()), c.m.hour()) {
		return
	}
	before, packed := c.m.Digest(), c.at
	packed.Wall = time.Unix(0, c.m.now) // as if in one log entry with the last: time itself may change the state
	reply := c.m.Apply(packed, p.command)
	if !bytes.Equal(reply, replay(p.reply)) || c.m.Digest() != before {
		c.r.Fatalf("repeating %q answers %q, first was %q; state changed: %v", p.command, reply, p.reply, c.m.Digest() != before)
	}
}

// doSnapshot replaces the replica by one restored from a snapshot that was captured, then overtaken by the log, and
// only then written. What it missed it applies afterwards.
func (c *course) doSnapshot() {
	write, err := c.m.Snapshot()
	if err != nil {
		c.r.Fatal(err)
	}
	digest, from := c.m.Digest(), len(c.past)
	for range rapid.IntRange(0, 3).Draw(c.r, "meanwhile") {
		c.doDebit()
		c.doReturn()
	}
	var b bytes.Buffer
	restored := NewMachine(DefaultConfig())
	if err := errors.Join(write(&b), restored.Restore(&b)); err != nil {
		c.r.Fatal(err)
	}
	if restored.Digest() != digest || restored.Keys() < 1 || restored.Accounts() != 1 {
		c.r.Fatal("the restored state differs from the captured one")
	}
	for _, p := range c.past[from:] {
		if reply := restored.Apply(p.at, p.command); !bytes.Equal(reply, p.reply) {
			c.r.Fatalf("restored machine answers %q, first was %q", reply, p.reply)
		}
	}
	c.replica = restored
}

func (c *course) doRead() {
	a := c.account()
	if a.Balance != Credits(c.w.balance()) || a.ByKind[Overdraft] != Credits(c.w.overdraft) {
		c.r.Fatalf("balance is %d, overdraft %d, twin has %d and %d", a.Balance, a.ByKind[Overdraft], c.w.balance(), c.w.overdraft)
	}
	books := c.m.byID["a"].books
	if want := [bookCount]Credits{
		Credits(-c.w.granted), books[Available], Credits(c.w.overdraft), Credits(c.w.spent), Credits(c.w.expired),
	}; books != want {
		c.r.Fatalf("books are %v, twin has %v", books, want)
	}
}

func (c *course) step() {
	if rapid.IntRange(0, 3).Draw(c.r, "wait") == 0 {
		c.pass(time.Duration(rapid.IntRange(1, 50).Draw(c.r, "tens of minutes")) * 10 * time.Minute)
	}
	c.w.walk(int(c.at.Wall.Unix()))
	steps := []func(){c.doGrant, c.doDebit, c.doDebit, c.doReturn, c.doReturn, c.doRepeat, c.doRead, c.doSnapshot}
	steps[rapid.IntRange(0, len(steps)-1).Draw(c.r, "step")]()
	if !c.w.conserved() {
		c.r.Fatalf("the twin lost money: %+v", c.w)
	}
}

func TestMachineDoesWhatItsTwinDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		c := &course{desk: newDesk(t, DefaultConfig()), r: r, replica: NewMachine(DefaultConfig())}
		c.Ledger = New(c)
		c.w = &twin{keys: map[string]*twinKey{}, limit: rapid.IntRange(0, 15).Draw(r, "overdraft")}
		c.w.walk(dawn)
		c.open(Credits(c.w.limit))
		for range rapid.IntRange(1, 120).Draw(r, "steps") {
			c.step()
		}
		if c.m.Digest() != c.replica.Digest() {
			r.Fatal("equal logs led to other states")
		}
	})
}
