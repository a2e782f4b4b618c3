package wallet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

var errCut = errors.New("no answer")

// bank is a real ledger behind a network that loses, repeats, delays and reorders, by its seed.
type bank struct {
	*ledger.Ledger // through the network
	t              testing.TB
	m              *ledger.Machine
	start          time.Time

	mu                  sync.Mutex
	rng                 *rand.Rand
	index               uint64
	events              [][]byte
	writes              int
	down                bool
	drop, lose, repeat, // of 100 commands, those that do not come, that are not answered, and that come again
	slow int // ms that each takes at most
	reply time.Duration // that the answer takes
}

func newBank(t testing.TB, c ledger.Config, seed uint64) *bank {
	b := &bank{t: t, rng: rand.New(rand.NewPCG(seed, 1)), start: time.Now()}
	c.Journal = (*pages)(b)
	b.m = ledger.NewMachine(c)
	b.Ledger = ledger.New(b)
	return b
}

// lending is for accounts of some 100 credits, with the shortest grace.
func lending() ledger.Config {
	c := ledger.DefaultConfig()
	c.Grace = time.Second
	return c
}

type pages bank

func (p *pages) Append(_ uint64, event []byte) error {
	p.events = append(p.events, slices.Clone(event))
	return nil
}
func (p *pages) Read(seq uint64) ([]byte, error) { return p.events[seq-1], nil }
func (p *pages) Sync() error                     { return nil }

func (b *bank) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, e := range b.events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// roll tells whether something that happens to so many of 100 happens now.
func (b *bank) roll(percent int) bool { return percent > 0 && b.rng.IntN(100) < percent }

func (b *bank) Propose(ctx context.Context, command []byte) ([]byte, error) {
	b.mu.Lock()
	there, back, drop, lose, repeat := time.Duration(0), b.reply, b.roll(b.drop), b.roll(b.lose), b.roll(b.repeat)
	var again time.Duration
	if b.slow > 0 {
		there, back = b.millis(b.slow), back+b.millis(b.slow)
		again = b.millis(20 * b.slow)
	}
	down := b.down
	b.mu.Unlock()
	if down || drop {
		<-ctx.Done()
		return nil, errCut
	}
	time.Sleep(there)
	reply, err := b.apply(command)
	if repeat {
		go func() {
			time.Sleep(again)
			_, _ = b.apply(command)
		}()
	}
	if lose {
		<-ctx.Done()
		return nil, errCut
	}
	time.Sleep(back)
	return reply, err
}

func (b *bank) millis(most int) time.Duration {
	return time.Duration(b.rng.IntN(most+1)) * time.Millisecond
}

func (b *bank) apply(command []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	b.writes++
	now := time.Now()
	return b.m.Apply(ledger.Stamp{Term: 1, Index: b.index, Wall: now, Elapsed: now.Sub(b.start)}, command)
}

// near is the ledger without the network.
func (b *bank) near() *ledger.Ledger { return ledger.New(nearby{b}) }

type nearby struct{ b *bank }

func (n nearby) Propose(_ context.Context, command []byte) ([]byte, error) {
	reply, err := n.b.apply(command)
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	n.b.writes--
	return reply, err
}

// open opens an account with an amount of paid credit.
func (b *bank) open(account string, amount ledger.Credits) {
	b.t.Helper()
	yes := ledger.OpenAccount{Key: "open-" + account, Account: account, UseCredits: true}
	if r, err := b.near().Open(b.t.Context(), yes); err != nil || r.Outcome != ledger.Done {
		b.t.Fatalf("%+v, %v", r, err)
	}
	if amount > 0 {
		b.grant(account, "g", amount)
	}
}

func (b *bank) grant(account, id string, amount ledger.Credits) {
	b.t.Helper()
	r, err := b.near().Grant(b.t.Context(), ledger.Grant{Key: "grant-" + account + id, Account: account, Grant: id, Kind: ledger.Credit, Amount: amount})
	if err != nil || r.Outcome != ledger.Done {
		b.t.Fatalf("%+v, %v", r, err)
	}
}

func (b *bank) account(id string) ledger.Account {
	b.t.Helper()
	a, err := b.near().Account(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// lent lists the ids of the allowances that the ledger has not taken back.
func (b *bank) lent(account string) (ids []uint64) {
	b.t.Helper()
	all, err := b.near().Allowances(b.t.Context(), account, ledger.Read{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range all {
		ids = append(ids, a.ID)
	}
	return ids
}

// sound checks the ledger's own invariants, and its books against its events (I1, I2, I4).
func (b *bank) sound() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	audit, err := ledger.Verify(b.all(), b.m)
	if err != nil || audit.Found > 0 || b.m.Verify() != nil {
		b.t.Errorf("%v, %q, %v", err, audit.Differences, b.m.Verify())
	}
}

// running is a wallet whose Run goes on until it is stopped.
type running struct {
	*Wallet
	b    *bank
	stop context.CancelFunc
	done chan struct{}
}

// hold begins a wallet. change may change its config.
func (b *bank) hold(home string, change func(c *Config)) *running {
	b.t.Helper()
	c := DefaultConfig()
	c.Home, c.Incarnation, c.Purse, c.Lender, c.Now, c.LogBytes = home, 1, b, b, time.Now, 8<<20
	c.Way = func(d *ledger.Debit) Way {
		switch d.Key[0] {
		case 'l':
			return Loose
		case 'd':
			return Direct
		}
		return Keyed
	}
	if change != nil {
		change(&c)
	}
	w, err := New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	r := &running{Wallet: w, b: b, done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = func() {
		stop()
		<-r.done
	}
	go func() {
		defer close(r.done)
		_ = w.Run(ctx)
	}()
	return r
}

// draw draws with a key of its own and fails the test unless it is done.
func (r *running) draw(key, account string, amount ledger.Credits) ledger.Receipt {
	r.b.t.Helper()
	receipt, err := r.Debit(r.b.t.Context(), ledger.Debit{Key: key, Account: account, Amount: amount, Overshoot: ledger.Deny})
	if err != nil || receipt.Outcome != ledger.Done || receipt.Amount != amount {
		r.b.t.Fatalf("draw %s: %+v, %v", key, receipt, err)
	}
	return receipt
}

// warm draws until draws are made from memory, and returns the allowance and what was drawn in all.
func (r *running) warm(account string, amount ledger.Credits) (id uint64, drawn ledger.Credits) {
	r.b.t.Helper()
	for i := range 200 {
		receipt := r.draw(fmt.Sprintf("l-warm-%s-%d-%d", r.c.Home, time.Now().UnixNano(), i), account, amount)
		drawn += amount
		if receipt.Allowance != 0 {
			return receipt.Allowance, drawn
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.b.t.Fatal("all draws went to the ledger")
	return 0, 0
}

// left is what is on the disk when a process is killed at this moment.
func left(t testing.TB, from journal.Files) journal.Files {
	t.Helper()
	to := journal.Memory()
	names, err := from.List()
	for _, name := range names {
		if err != nil {
			break
		}
		err = copyFile(from, to, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func copyFile(from, to journal.Files, name string) error {
	f, err := from.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); int64(n) < size {
		return err
	}
	g, err := to.Create(name)
	if err != nil {
		return err
	}
	defer g.Close()
	_, err = g.WriteAt(b, 0)
	return err
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
