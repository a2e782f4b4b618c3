package wallet

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/ledger/journal"
)

// past is what the spend log tells of earlier lives: the allowances that were not over.
type past struct {
	w    *Wallet
	open map[uint64]*allowance
	at   map[uint64][]uint64 // the numbers of their items
}

func newPast(w *Wallet) *past {
	return &past{w: w, open: make(map[uint64]*allowance), at: make(map[uint64][]uint64)}
}

// read takes in a record.
func (t *past) read(seq uint64, record []byte) error {
	r := fields{rest: record[1:]}
	switch kind := record[0]; kind {
	case recordBegun:
		t.w.c.Incarnation = max(t.w.c.Incarnation, r.uint()+1)
	case recordLent:
		id, amount, home := r.uint(), r.int(), r.text()
		a := newAllowance(&purse{account: r.text(), keyed: make(map[string]place)}, home, id)
		a.amount, a.logged = ledger.Credits(amount), seq
		if t.open[id] == nil { // an answer that came twice was written twice
			t.open[id] = a
		}
	case recordItem:
		id, n := r.uint(), r.uint()
		it := item{kept: true}
		it.Amount, it.Keyed, it.ID, it.Memo = ledger.Credits(r.int()), r.byte() == 1, r.text(), r.text()
		if a := t.open[id]; a != nil && !r.short {
			a.items = append(a.items, it)
			t.at[id] = append(t.at[id], n)
		}
	case recordEnded:
		id := r.uint()
		delete(t.open, id)
		delete(t.at, id)
	default:
		return fmt.Errorf("%w: kind %d", journal.ErrNewer, kind)
	}
	if r.short || len(r.rest) > 0 {
		return fmt.Errorf("%w: %d bytes of kind %d", journal.ErrDamaged, len(record), record[0])
	}
	return nil
}

// adopt has the allowances that are left reported to their end. None is used again: what was drawn from it after the last record
// is not known. Items stand in the order in which they were drawn, which need not be that in which they were written; one that is
// missing was answered to nobody and not reported, and nor were those after it.
func (t *past) adopt() {
	for id, a := range t.open {
		numbers := t.at[id]
		order := make([]int, len(numbers))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(numbers[i], numbers[j]) })
		items := make([]item, len(order))
		for i, from := range order {
			items[i] = a.items[from]
			a.spent += items[i].Amount
			a.unacked += max(items[i].Amount, 0)
		}
		a.items = items
		a.past = true
		a.rest(true)
		a.purse.all = []*allowance{a}
		t.w.lending[a.purse] = struct{}{}
		t.w.open++
		t.w.c.Logger.Info("an allowance of an earlier life is to be reported", "allowance", a.id, "account", a.purse.account, "items", len(items),
			"credits", a.spent.String())
	}
}

// fields reads the fields of a record, one after the other; short is set when there is less than was asked for.
type fields struct {
	rest  []byte
	short bool
}

func (f *fields) skip(n int) []byte {
	if n <= 0 || n > len(f.rest) {
		f.rest, f.short = nil, true
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.rest)
	f.skip(n)
	return v
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.rest)
	f.skip(n)
	return v
}

func (f *fields) byte() byte {
	if b := f.skip(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) text() string {
	n := f.uint()
	if n == 0 || f.short {
		return ""
	}
	return string(f.skip(int(min(n, 1<<20))))
}
