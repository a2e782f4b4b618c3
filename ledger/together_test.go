package ledger

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// packing takes several commands at once, the last first, and loses the second.
type packing struct {
	*desk
	calls *int
}

func (p packing) ProposeAll(ctx context.Context, commands [][]byte, done func(i int, reply []byte, err error)) {
	*p.calls++
	for i, c := range slices.Backward(commands) {
		if i == 1 {
			done(i, nil, errLost)
			continue
		}
		reply, err := p.Propose(ctx, c)
		done(i, reply, err)
	}
}

func TestWritesThatAreDoneTogetherEachHaveTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	calls := 0
	for name, lost := range map[string]error{"a packer": errLost, "no packer": nil} { // what becomes of the second that is proposed
		d := newDesk(t, DefaultConfig())
		l := d.Ledger
		if lost != nil {
			l = New(packing{d, &calls})
		}
		if _, err := l.Open(t.Context(), OpenAccount{Key: "o", Account: "a", UseCredits: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Grant(t.Context(), Grant{Key: "g", Account: "a", Kind: Credit, Amount: 100}); err != nil {
			t.Fatal(err)
		}
		told := map[int]int{}
		var receipts [4]Receipt
		var errs [4]error
		l.Do(t.Context(), []Write{
			&Debit{Key: "d0", Account: "a", Amount: 10, Attributes: []Label{{Name: "z", Value: "1"}, {Name: "b", Value: "1"}}},
			&Debit{Key: "d1", Account: "a", Amount: -10},
			&Debit{Key: "d2", Account: "a", Amount: 20},
			&Debit{Key: "d3", Account: "nobody", Amount: 30},
		}, func(i int, r Receipt, err error) {
			told[i]++
			receipts[i], errs[i] = r, err
		})
		if len(told) != 4 || told[0] != 1 || told[1] != 1 || told[2] != 1 || told[3] != 1 {
			t.Errorf("%s: told %v", name, told)
		}
		if errs[0] != nil || receipts[0].Amount != 10 || !errors.Is(errs[1], ErrInvalid) || !errors.Is(errs[3], ErrNoAccount) {
			t.Errorf("%s: %+v, %v", name, receipts, errs)
		}
		if !errors.Is(errs[2], lost) || lost == nil && receipts[2].Amount != 20 {
			t.Errorf("%s: %+v, %v", name, receipts[2], errs[2])
		}
		again, err := l.Debit(t.Context(), Debit{Key: "d0", Account: "a", Amount: 10, Attributes: []Label{{Name: "b", Value: "1"}, {Name: "z", Value: "1"}}})
		if err != nil || !again.Replayed {
			t.Errorf("%s: the same with its labels in another order: %+v, %v", name, again, err)
		}
	}
	if calls != 1 {
		t.Errorf("%d calls for four writes", calls)
	}
}
