package wallet

import (
	"errors"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// A report never has more than the spend log: else a restarted wallet would number its items otherwise than the ledger does.
func TestReportLeavesOutWhatTheLogDoesNotHave(t *testing.T) {
	w := &Wallet{c: DefaultConfig()}
	now := time.Unix(1, 0)
	a := newAllowance(&purse{}, "n1", 7)
	a.left, a.slices, a.deadline = 10, []slice{{held: 10}}, now.Add(time.Minute)
	for i, kept := range []bool{true, false, true} {
		a.take(ledger.Credits(i+1), false)
		a.add(item{Item: ledger.Item{ID: "i", Amount: ledger.Credits(i + 1)}, kept: kept})
	}
	a.rest(true)
	n, ok := w.compose(a, now)
	if !ok || len(n.Items) != 1 || n.Spent != 1 || n.Final {
		t.Errorf("%+v", n)
	}
	a.items[1].kept = true
	if n, ok = w.compose(a, now); !ok || len(n.Items) != 3 || n.Spent != 6 || !n.Final {
		t.Errorf("%+v", n)
	}
}

// Items are read in the order in which they were drawn, and what follows one that is missing takes its number.
func TestReplayOrdersItemsByNumber(t *testing.T) {
	w := &Wallet{c: DefaultConfig(), lending: map[*purse]struct{}{}}
	w.c.Logger = discard()
	past := newPast(w)
	lent := appendText(appendText([]byte{recordLent, 7, 20}, "n1"), "a")
	for i, record := range [][]byte{
		{recordBegun, 41},
		lent,
		appendItem([]byte{recordItem}, 7, 3, &ledger.Item{ID: "fourth", Amount: 4}),
		appendItem([]byte{recordItem}, 7, 0, &ledger.Item{ID: "first", Amount: 1, Keyed: true}),
		lent,
		appendItem([]byte{recordItem}, 7, 1, &ledger.Item{ID: "undone", Amount: -1, Memo: "m"}),
		appendItem([]byte{recordItem}, 8, 1, &ledger.Item{ID: "of another", Amount: 1}),
	} {
		if err := past.read(uint64(i+1), record); err != nil {
			t.Fatal(i, err)
		}
	}
	a := past.open[7]
	past.adopt()
	if w.c.Incarnation != 42 || w.open != 1 || len(a.items) != 3 || a.items[0].ID != "first" || !a.items[0].Keyed || a.items[1].Amount != -1 ||
		a.items[2].ID != "fourth" || a.spent != 4 || a.unacked != 5 || a.logged != 2 || a.home != "n1" || a.purse.account != "a" || !a.resting {
		t.Errorf("%+v, %d", a, w.c.Incarnation)
	}
	if err := newPast(w).read(1, []byte{99}); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("a kind of record that is not known: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{recordBegun, 1})
	f.Add(appendText(appendText([]byte{recordLent, 7, 20}, "n1"), "a"))
	f.Add(appendItem([]byte{recordItem}, 7, 3, &ledger.Item{ID: "k", Amount: -4, Keyed: true, Memo: "m"}))
	f.Add([]byte{recordEnded, 7})
	f.Add([]byte{recordItem, 7, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) == 0 {
			return
		}
		w := &Wallet{c: DefaultConfig(), lending: map[*purse]struct{}{}}
		w.c.Logger = discard()
		past := newPast(w)
		past.open[7] = newAllowance(&purse{}, "n1", 7)
		if past.read(1, record) == nil {
			past.adopt()
		}
	})
}
