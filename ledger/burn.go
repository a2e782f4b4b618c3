package ledger

// charge says what may pay for something.
type charge struct {
	order      []Kind // empty: all, in their usual order
	attributes []Label
	overshoot  Overshoot
}

// kinds are what pays, in order. Cap never touches the overdraft and Overdraw always may.
func (c *charge) kinds() (order [KindCount]Kind, n int) {
	owes := false
	add := func(k Kind) {
		order[n] = k
		n++
	}
	for _, k := range c.order {
		if k != Overdraft {
			add(k)
		}
		if k == Overdraft && c.overshoot != Cap {
			owes = true
			add(k)
		}
	}
	if len(c.order) == 0 {
		add(Included)
		add(Promo)
		add(Credit)
	}
	if !owes && (c.overshoot == Overdraw || (c.overshoot == Deny && len(c.order) == 0)) {
		add(Overdraft)
	}
	return order, n
}

// burn says which parts a charge would take of the account and how much it finds nothing for. had is what there was of
// each kind that it may burn. It changes nothing. Inside a kind it goes by priority, then soonest to expire, then
// effective first, then granted first. Without the account's consent nothing touches paid credit or overdraft.
// What it returns is good until the transaction's next burn.
func (t *tx) burn(amount Credits, c *charge) (parts []Part, had [KindCount]Credits, short Credits) {
	a := &t.a
	parts = t.parts[:0]
	take := func(kind Kind, grant string, available Credits) {
		had[kind] += available
		if x := min(amount, available); x > 0 {
			parts = append(parts, Part{kind, grant, x})
			amount -= x
		}
	}
	order, n := c.kinds()
	for _, kind := range order[:n] {
		if kind >= Credit && !a.useCredits {
			continue
		}
		if kind == Overdraft {
			take(kind, "", a.overdraft+a.books[Overdrawn])
			continue
		}
		for i := range a.grants {
			if g := &a.grants[i]; g.kind == kind && g.burnable(t.now) && g.applies(c.attributes) {
				take(kind, g.id, g.available)
			}
		}
	}
	t.parts = parts
	return parts, had, amount
}

// source is the posting that takes x from where a part came from.
func source(p Part, x Credits) Posting {
	if p.Kind == Overdraft {
		return Posting{Book: Overdrawn, Amount: -x}
	}
	return Posting{Available, p.Grant, -x}
}

// taking are the postings that move parts into a book, whole or by grant.
func (t *tx) taking(parts []Part, into Book) []Posting {
	postings := t.postings[:0]
	var sum Credits
	for _, p := range parts {
		postings = append(postings, source(p, p.Amount))
		sum += p.Amount
	}
	if into.ofGrant() {
		for _, p := range parts {
			postings = append(postings, Posting{into, p.Grant, p.Amount})
		}
	} else {
		postings = append(postings, Posting{Book: into, Amount: sum})
	}
	t.postings = postings
	return postings
}

// shortOf says why a charge that may not be cut did not fit.
func (a *account) shortOf() Outcome {
	if !a.useCredits {
		return Unwilling
	}
	return Insufficient
}
