package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"
)

var errLost = errors.New("leadership lost")

// dawn is when the logs of the tests begin.
const dawn = 1_790_000_000

// desk is a ledger whose log is a loop: what is proposed is applied at once, at the time the test set.
type desk struct {
	*Ledger
	t    testing.TB
	m    *Machine
	log  *memory
	at   Stamp
	mu   sync.Mutex // one command at a time
	lost bool       // the next replies are lost after they were applied
}

func newDesk(t testing.TB, c Config) *desk {
	kept := &memory{}
	if c.Journal == nil {
		c.Journal = kept
	}
	d := &desk{t: t, m: NewMachine(c), log: kept, at: Stamp{Term: 1, Index: 1, Wall: time.Unix(dawn, 0).UTC()}}
	d.Ledger = New(d)
	return d
}

func (d *desk) Propose(_ context.Context, command []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reply, err := d.m.Apply(d.at, command)
	if err != nil {
		return nil, err
	}
	d.at.Index++
	if d.lost {
		return nil, errLost
	}
	return reply, nil
}

// pass lets both clocks go on; only that of the wall can go back.
func (d *desk) pass(after time.Duration) {
	d.at.Wall = d.at.Wall.Add(after)
	d.at.Elapsed += max(after, 0)
}

// apply applies a command that must not stop the replica.
func (d *desk) apply(c command) []byte {
	d.t.Helper()
	reply, err := d.m.Apply(d.at, encodeCommand(c))
	if err != nil {
		d.t.Fatal(err)
	}
	return reply
}

// memory is a journal that is nowhere but here.
type memory struct {
	mu     sync.Mutex
	events [][]byte
	synced int
	fail   error // what every call returns
}

func (m *memory) Append(seq uint64, event []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch n := uint64(len(m.events)); {
	case m.fail != nil:
		return m.fail
	case seq > n+1 || seq == 0:
		return fmt.Errorf("event %d after %d", seq, n)
	case seq <= n && !bytes.Equal(m.events[seq-1], event):
		return fmt.Errorf("event %d differs", seq)
	case seq == n+1:
		m.events = append(m.events, bytes.Clone(event))
	}
	return nil
}

func (m *memory) Read(seq uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seq == 0 || seq > uint64(len(m.events)) || m.events[seq-1] == nil {
		return nil, fmt.Errorf("%w: %d", ErrGone, seq)
	}
	return m.events[seq-1], m.fail
}

// all iterates over the events.
func (m *memory) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, event := range m.events {
			if !yield(event, nil) {
				return
			}
		}
	}
}

func (m *memory) Sync() error {
	m.synced++
	return m.fail
}

// open opens account a with consent to paid credit.
func (d *desk) open(overdraft Credits) {
	d.t.Helper()
	d.done(d.Open(d.t.Context(), OpenAccount{Key: "open", Account: "a", UseCredits: true, Overdraft: overdraft}))
}

func (d *desk) grant(g Grant) Receipt {
	d.t.Helper()
	g.Account = "a"
	if g.Key == "" {
		g.Key = "grant " + g.Grant
	}
	return d.done(d.Grant(d.t.Context(), g))
}

func (d *desk) debit(key string, amount Credits, order ...Kind) Receipt {
	d.t.Helper()
	r, err := d.Debit(d.t.Context(), Debit{Key: key, Account: "a", Amount: amount, Order: order, Overshoot: Deny})
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *desk) giveBack(key, debit string, amount Credits) Receipt {
	d.t.Helper()
	return d.done(d.Return(d.t.Context(), Return{Key: key, Account: "a", Debit: debit, Amount: amount}))
}

func (d *desk) done(r Receipt, err error) Receipt {
	d.t.Helper()
	if err != nil || r.Outcome != Done {
		d.t.Fatalf("got %v, %v, want done", r.Outcome, err)
	}
	return r
}

func (d *desk) account() Account {
	d.t.Helper()
	a, err := d.Account(d.t.Context(), "a")
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *desk) balance(want Credits) {
	d.t.Helper()
	if got := d.account().Balance; got != want {
		d.t.Errorf("balance is %d, want %d", got, want)
	}
}

// movements lists the account's events with what is due booked, such as "debit g1-5 spent+5".
func (d *desk) movements() []string {
	d.t.Helper()
	d.apply(&readAccount{"a"})
	entries, err := d.Entries(d.t.Context(), "a", 0, EntriesMax)
	if err != nil {
		d.t.Fatal(err)
	}
	var lines []string
	for _, e := range entries {
		line := e.Movement.String()
		for _, p := range e.Postings {
			name := p.Book.String()
			if p.Book == Available {
				name = p.Grant
			}
			line += fmt.Sprintf(" %s%+d", name, p.Amount)
		}
		lines = append(lines, line)
	}
	return lines
}

func partsText(parts []Part) string {
	var words []string
	for _, p := range parts {
		name := p.Grant
		if p.Kind == Overdraft {
			name = "overdraft"
		}
		words = append(words, fmt.Sprintf("%s:%d", name, p.Amount))
	}
	return strings.Join(words, " ")
}

func wantParts(t *testing.T, r Receipt, want string) {
	t.Helper()
	if got := partsText(r.Parts); got != want {
		t.Errorf("parts are %q, want %q", got, want)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}
