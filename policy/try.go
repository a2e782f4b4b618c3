package policy

import (
	"context"
	"errors"
)

// errWaits is what a prompt plan comes to when the ledger would have to be asked. Nothing was taken.
var errWaits = errors.New("credit has to be asked for")

// Try decides a request of which no part has to be paid for; of others nothing is taken and the ledger is not asked. A
// request within its limits costs no allocation.
func (w *Waterfall) Try(r *Request, d *Decision) (decided bool, err error) {
	p := w.plan()
	defer w.forget(p)
	return w.try(p, r, d)
}

func (w *Waterfall) try(p *plan, r *Request, d *Decision) (decided bool, err error) {
	p.prompt = true
	if err = w.check(context.Background(), p, r, d); errors.Is(err, errWaits) { // without a ledger nothing waits for the context
		d.Limits, d.Sources = p.states[:0], p.sources[:0]
		return false, nil
	}
	return true, err
}

// hold has no limit spill, so that one which would refuses instead and nothing is taken. That is not possible together
// with a limit that charges for what is refused.
func (p *plan) hold() bool {
	spills, charges := false, false
	for i := range p.takes {
		spills = spills || p.takes[i].Spill
		charges = charges || p.takes[i].Charge
	}
	if spills && charges {
		return false
	}
	if spills {
		p.guard()
	}
	return true
}

// held reports whether a limit refused that would spill.
func (p *plan) held() bool {
	for i := range p.takes {
		if p.limits[i].spill && p.takes[i].Refused && !p.takes[i].Shadow {
			return true
		}
	}
	return false
}
