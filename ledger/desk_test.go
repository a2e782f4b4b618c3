package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	at   Stamp
	lost bool // the next replies are lost after they were applied
}

func newDesk(t testing.TB, c Config) *desk {
	d := &desk{t: t, m: NewMachine(c), at: Stamp{Term: 1, Index: 1, Wall: time.Unix(dawn, 0).UTC()}}
	d.Ledger = New(d)
	return d
}

func (d *desk) Propose(_ context.Context, command []byte) ([]byte, error) {
	reply := d.m.Apply(d.at, command)
	d.at.Index++
	if d.lost {
		return nil, errLost
	}
	return reply, nil
}

func (d *desk) pass(after time.Duration) { d.at.Wall = d.at.Wall.Add(after) }

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
	r, err := d.Debit(d.t.Context(), Debit{Key: key, Account: "a", Amount: amount, Order: order})
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

// movements lists the account's entries, such as "debit g1-5 spent+5".
func (d *desk) movements() []string {
	d.t.Helper()
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
