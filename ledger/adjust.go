package ledger

import (
	"cmp"
	"fmt"
)

// Adjust corrects an account by hand. An amount above zero is a new grant of the kind that never expires, named by the key,
// or of Overdraft a debt that is written off. An amount below zero takes from the grants of the kind, in their usual
// order, and is Insufficient if they have less.
type Adjust struct {
	Key, Account string
	Amount       Credits // not 0
	Kind         Kind
	Memo         string // why; needed
}

func (j *Adjust) op() op                           { return opAdjust }
func (j *Adjust) key() string                      { return j.Key }
func (j *Adjust) payer(_ *Machine) (string, error) { return j.Account, nil }

func (j *Adjust) wire(c *coder) {
	c.text(&j.Key, KeyMax)
	c.text(&j.Account, AccountMax)
	c.credits(&j.Amount)
	c.word((*uint8)(&j.Kind), uint8(kindCount))
	c.text(&j.Memo, MemoMax)
}

func (j *Adjust) check() error {
	if j.Amount == 0 || (j.Kind == Overdraft && j.Amount < 0) {
		return fmt.Errorf("%w: adjustment of %s by %s", ErrInvalid, j.Kind, j.Amount)
	}
	return cmp.Or(checkKey(j.Key), checkAccount(j.Account), checkAmount("amount", max(j.Amount, -j.Amount), 1),
		checkWord("kind", uint8(j.Kind), uint8(kindCount)), checkText("memo", j.Memo, 1, MemoMax))
}

func (j *Adjust) run(t *tx) (Receipt, error) {
	e := Event{Movement: Adjusting, Key: j.Key, Memo: j.Memo}
	var parts []Part
	switch {
	case j.Kind == Overdraft:
		if owed := -t.a.books[Overdrawn]; j.Amount > owed {
			return Receipt{}, fmt.Errorf("%w: account %q owes %s, not %s", ErrConflict, t.a.id, max(owed, 0), j.Amount)
		}
		parts = []Part{{Overdraft, "", j.Amount}}
		e.WrittenOff = j.Amount
		e.Postings = []Posting{{Book: Issued, Amount: -j.Amount}, {Book: Overdrawn, Amount: j.Amount}}
		t.post(e)
	case j.Amount > 0:
		if err := t.admits(j.Key, j.Amount, never); err != nil {
			return Receipt{}, err
		}
		parts = []Part{{j.Kind, j.Key, j.Amount}}
		t.issue(grant{id: j.Key, kind: j.Kind, amount: j.Amount, expires: never}, e)
		t.settle()
	default:
		var short Credits
		if parts, short = t.a.withdraw(-j.Amount, j.Kind, t.now); short > 0 {
			r := t.receipt()
			r.Outcome = Insufficient
			return r, nil
		}
		e.Postings = t.taking(parts, Voided)
		t.post(e)
	}
	r := t.receipt()
	r.Amount, r.Parts = j.Amount, parts
	return r, nil
}

// withdraw says which parts an operator's correction takes, whatever the account agreed to and the grants apply to.
func (a *account) withdraw(amount Credits, kind Kind, now int64) (parts []Part, short Credits) {
	for i := range a.grants {
		g := &a.grants[i]
		if g.kind != kind || !g.burnable(now) || amount == 0 {
			continue
		}
		x := min(amount, g.available)
		parts = append(parts, Part{kind, g.id, x})
		amount -= x
	}
	return parts, amount
}
