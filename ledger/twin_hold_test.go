package ledger

import (
	"fmt"
	"slices"
)

// held returns a hold that is remembered, brought up to now.
func (w *twin) held(id string) *twinHold {
	h := w.holds[id]
	if h == nil || (h.state != "open" && w.hour()-h.ended > 25) {
		delete(w.holds, id)
		return nil
	}
	if h.account != "" {
		w.touch(h.account)
	}
	return h
}

// cell counts that an event meets a state.
func (w *twin) cell(event, id string) *twinHold {
	h := w.held(id)
	if h == nil {
		w.cells[event+" absent"]++
	} else {
		w.cells[event+" "+h.state]++
	}
	return h
}

// about adds how a hold is to a receipt.
func (w *twin) about(h *twinHold, outcome string, amount, expired, forgiven int, took []*twinTake) string {
	held, spent, back := h.sum()
	return fmt.Sprintf("%s hold %s %d %d %d", w.receipt(w.accounts[h.account], outcome, amount, expired, forgiven, took), h.state, held, spent, back)
}

func (w *twin) authorize(id, account string, amount, ttl int, partial bool, n *twinHold) string {
	if h := w.holds[id]; h != nil && h.account != "" && h.account != account && (h.state == "open" || w.hour()-h.ended <= 25) {
		return w.receipt(w.touch(account), "hold_exists", 0, 0, 0, nil) // of another account, which this does not touch
	}
	w.touch(account)
	if h := w.cell("authorize", id); h != nil {
		outcome := "hold_exists"
		if h.state == "released" {
			outcome = "hold_released"
		}
		return w.aboutFor(account, h, outcome)
	}
	a := w.touch(account)
	n.account, n.deadline, n.state = account, w.elapsed+ttl, "open"
	took, short := a.burn(amount, n.order, n.only, false)
	w.holds[id] = n
	if a.blocked || (short > 0 && !partial) || len(took) == 0 {
		n.state, n.ended = "refused", w.hour()
		outcome := "insufficient"
		if a.blocked {
			outcome = "blocked"
		}
		return w.about(n, outcome, 0, 0, 0, nil)
	}
	n.authorized = amount - short
	n.hold(took)
	return w.about(n, "done", amount-short, 0, 0, took)
}

// aboutFor is about, for an answer on behalf of another account than the hold's.
func (w *twin) aboutFor(account string, h *twinHold, outcome string) string {
	held, spent, back := h.sum()
	return fmt.Sprintf("%s hold %s %d %d %d", w.receipt(w.accounts[account], outcome, 0, 0, 0, nil), h.state, held, spent, back)
}

// hold takes parts into the hold, each grant in its place.
func (h *twinHold) hold(took []*twinTake) {
	for _, t := range took {
		t.from.left, t.from.held = t.from.left-t.spent, t.from.held+t.spent
		h.of(t.from).held += t.spent
	}
}

func (h *twinHold) of(g *twinGrant) *twinTake {
	i := slices.IndexFunc(h.takes, func(t *twinTake) bool { return t.from == g })
	if i < 0 {
		h.takes = append(h.takes, &twinTake{from: g})
		i = len(h.takes) - 1
	}
	return h.takes[i]
}

// not is what a command answers that needs an open hold.
func (h *twinHold) not() string {
	return map[string]string{
		"captured": "already_captured", "released": "hold_released", "expired": "hold_expired", "refused": "hold_refused",
	}[h.state]
}

func (w *twin) extend(id string, amount, ttl int) string {
	h := w.cell("extend", id)
	if h == nil {
		return "nohold"
	}
	if h.state != "open" {
		return w.about(h, h.not(), 0, 0, 0, nil)
	}
	a := w.accounts[h.account]
	took, short := a.burn(amount, h.order, h.only, false)
	if a.blocked {
		return w.about(h, "blocked", 0, 0, 0, nil)
	}
	if short > 0 {
		return w.about(h, "insufficient", 0, 0, 0, nil)
	}
	h.hold(took)
	h.authorized += amount
	if ttl > 0 {
		h.deadline = max(h.deadline, w.elapsed+ttl)
	}
	return w.about(h, "done", amount, 0, 0, took)
}

func (w *twin) capture(id string, amount int, final bool, o Overshoot) string {
	h := w.held(id)
	rem := 0
	if h != nil {
		rem, _, _ = h.sum()
	}
	if amount > rem {
		w.cell("capture more", id)
	} else {
		w.cell("capture", id)
	}
	if h == nil {
		return "nohold"
	}
	late := h.state == "expired" && !h.rejects
	if h.state != "open" && !late {
		return w.about(h, h.not(), 0, 0, 0, nil)
	}
	a := w.accounts[h.account]
	order := h.order
	if o == Overdraw && !slices.Contains(order, Overdraft) {
		order = append(slices.Clone(order), Overdraft)
	}
	more, short := a.burn(max(amount-rem, 0), order, h.only, o != Cap)
	if o == Deny && amount > rem && (!late || short > 0) {
		return w.about(h, "exceeds_hold", 0, 0, 0, nil)
	}
	var took []*twinTake
	for rest, i := min(amount, rem), 0; rest > 0; i++ {
		k := h.takes[i]
		if x := min(k.held, rest); x > 0 {
			k.held, k.spent, k.from.held, rest = k.held-x, k.spent+x, k.from.held-x, rest-x
			took = append(took, &twinTake{from: k.from, spent: x})
		}
	}
	a.pay(more)
	for _, t := range more {
		h.of(t.from).spent += t.spent
		took = append(took, t)
	}
	a.spent += amount - short
	a.forgiven += short
	held, spent, _ := h.sum()
	h.authorized = max(h.authorized, held+spent)
	expired := 0
	if final {
		expired = a.drop(h)
		h.state = "captured"
	}
	if h.state != "open" {
		h.ended = w.hour()
	}
	text := w.about(h, "done", amount-short, expired, short, took)
	if late {
		text += " late"
	}
	return text
}

func (w *twin) release(id string) string {
	h := w.cell("release", id)
	if h == nil {
		w.holds[id] = &twinHold{state: "released", ended: w.hour()}
		return w.about(w.holds[id], "done", 0, 0, 0, nil)
	}
	switch h.state {
	case "captured":
		return w.about(h, "already_captured", 0, 0, 0, nil)
	case "released", "expired", "refused":
		return w.about(h, "done", 0, 0, 0, nil)
	}
	amount, _, _ := h.sum()
	expired := w.accounts[h.account].drop(h)
	h.state, h.ended = "released", w.hour()
	return w.about(h, "done", amount, expired, 0, nil)
}

func (w *twin) refundHold(key string, h *twinHold, amount int) string {
	w.cells["refund "+h.state]++
	_, spent, back := h.sum()
	if h.state == "open" {
		return w.about(h, "hold_open", 0, 0, 0, nil)
	}
	if amount == 0 {
		amount = spent - back
	}
	if amount == 0 || amount > spent-back {
		return w.about(h, "refund_exceeds_captured", 0, 0, 0, nil)
	}
	parts := unwindTwin(h.takes, amount)
	voided := w.settleBack(w.accounts[h.account], key, parts)
	return w.about(h, "done", amount, voided, 0, parts)
}

// tick ends every hold that is due, and counts what else it meets.
func (w *twin) tick() {
	for _, h := range w.holds {
		if h.state != "open" && h.deadline > 0 && h.deadline <= w.elapsed {
			w.cells["expire "+h.state]++
		}
	}
	for id := range w.accounts {
		w.touchHolds(id)
	}
}

func (w *twin) void(account, id string) string {
	a := w.touch(account)
	for _, g := range a.grants {
		if g.id != id || w.forgets(g) {
			continue
		}
		amount := 0
		var took []*twinTake
		if !g.hasExpired && !g.isVoided {
			amount, g.isVoided, g.left = g.left, true, 0
			a.voided += amount
			if amount > 0 {
				took = []*twinTake{{from: g, spent: amount}}
			}
			g.emptied = 0 // is empty from now on
		}
		return w.receipt(a, "done", amount, 0, 0, took)
	}
	return "nogrant"
}

func (w *twin) adjust(key, account string, amount int, kind Kind) string {
	a := w.touch(account)
	switch {
	case kind == Overdraft:
		if amount > -a.overdraft {
			return "conflict"
		}
		a.overdraft, a.granted, a.writtenOff = a.overdraft+amount, a.granted+amount, a.writtenOff+amount
		return w.receipt(a, "done", amount, 0, 0, []*twinTake{{spent: amount}})
	case amount > 0:
		g := &twinGrant{id: key, kind: int(kind), left: amount}
		if slices.ContainsFunc(a.grants, func(o *twinGrant) bool { return o.id == key && !w.forgets(o) }) {
			return "conflict"
		}
		a.grants, a.granted = append(a.grants, g), a.granted+amount
		w.touch(account)
		return w.receipt(a, "done", amount, 0, 0, []*twinTake{{from: g, spent: amount}})
	}
	took, short := a.burn(-amount, []Kind{kind}, "*", false)
	if short > 0 {
		return w.receipt(a, "insufficient", 0, 0, 0, nil)
	}
	a.pay(took)
	a.voided -= amount
	return w.receipt(a, "done", amount, 0, 0, took)
}
