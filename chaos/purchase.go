package chaos

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Purchases judges M7: an admission that was paid with credit has exactly one debit, of the amount that it told, and a
// request that was refused has none, or one that was given back (CHAOS §5). It compares the decisions with the last audit
// of each account, which must be whole: what the ledger no longer lists cannot be judged.
func Purchases(h *History) Result { return newStudy(h, nil).books().purchases() }

// purchase is all that is known of one check that may have been paid for.
type purchase struct {
	ops   []int32
	paid  int64 // micro-credits, as the decisions told
	sure  bool  // no attempt's outcome is unknown
	known bool  // an attempt was answered before the audit
}

// charge is what the journal says of the debit of a check.
type charge struct {
	op          int32
	seq         uint64
	took, given int64
}

func (b *books) purchases() Result {
	out := b.finding("M7", false, "no check that met a limit with spill was audited")
	checks := b.checks()
	for _, p := range b.accounts() {
		if p.audit < 0 {
			continue
		}
		audit, entries := &b.s.h.Ops[p.audit], p.journal
		if !p.whole() {
			continue
		}
		out.judging()
		charges := chargesOf(entries)
		names := b.names(checks[p.account], entries)
		unnamed := 0 // checks without a key whose decision nobody was told
		for _, i := range b.unnamed(p.account) {
			if b.s.h.Ops[i].Invoked <= audit.Returned {
				unnamed++
			}
		}
		for key, c := range charges {
			if names[key] != nil {
				continue
			}
			if unnamed--; unnamed < 0 && c.took != c.given {
				out.against(b.s.excerpt(c.op), fmt.Sprintf("%s: the debit %s of %d at seq %d is of no decision that anybody was told", p.account, key, c.took, c.seq))
			}
		}
		for key, pu := range names {
			b.settle(&out, p, key, pu, charges[key])
		}
	}
	return out
}

func (r *Result) judging() {
	if r.Status == Inconclusive {
		r.Status, r.Why = Held, ""
	}
}

// settle compares what the decisions of one check told with its debit.
func (b *books) settle(out *Result, p *page, key string, pu *purchase, c *charge) {
	ops := append([]int32(nil), pu.ops...)
	if c == nil {
		if pu.known && pu.paid > 0 {
			out.against(b.s.excerpt(ops...), fmt.Sprintf("%s: %d was told to be paid, and there is no debit %s", p.account, pu.paid, key))
		}
		return
	}
	ops = append(ops, c.op)
	switch stands := c.took - c.given; {
	case pu.paid > 0 && (stands != pu.paid):
		out.against(b.s.excerpt(ops...), fmt.Sprintf("%s: %d was told to be paid, the debit %s stands at %d", p.account, pu.paid, key, stands))
	case pu.paid == 0 && pu.sure && stands != 0:
		out.against(b.s.excerpt(ops...), fmt.Sprintf("%s: no answer told a payment, the debit %s of %d stands", p.account, key, stands))
	}
}

// chargesOf returns the debits of checks in a journal by their keys, less what was returned. One that is there twice
// counts twice.
func chargesOf(entries []entry) map[string]*charge {
	all := make(map[string]*charge)
	for i := range entries {
		e := entries[i]
		change, _ := e.change()
		if _, check := e.ofCheck(); check {
			if all[e.Key] == nil {
				all[e.Key] = &charge{op: e.op, seq: e.Seq}
			}
			all[e.Key].took -= change
		}
		const undo = "undo-"
		if e.Movement == "return" && len(e.Key) > len(undo) && all[e.Key[len(undo):]] != nil {
			all[e.Key[len(undo):]].given += change
		}
	}
	return all
}

// checks returns the operations of every account's checks.
func (b *books) checks() map[string][]int32 {
	all := make(map[string][]int32)
	for i := range b.s.h.Ops {
		if o := &b.s.h.Ops[i]; o.Kind == Check && o.Outcome != Failed {
			all[o.Account] = append(all[o.Account], int32(i))
		}
	}
	return all
}

// unnamed returns an account's checks without a key whose decision nobody was told.
func (b *books) unnamed(account string) (ops []int32) {
	for i := range b.s.h.Ops {
		o := &b.s.h.Ops[i]
		if o.Kind == Check && o.Account == account && o.Key == "" && (o.Outcome == Unknown || o.Reply.Decision == "" && o.Outcome == OK) {
			ops = append(ops, int32(i))
		}
	}
	return ops
}

// names returns the checks by the keys of the debits that they would have: the decision's id, or what policy makes of the
// check's own key.
func (b *books) names(checks []int32, entries []entry) map[string]*purchase {
	domains := make(map[string]bool)
	for i := range entries {
		if domain, check := entries[i].ofCheck(); check {
			domains[domain] = true
		}
	}
	if len(domains) == 0 {
		domains[""] = true // none was paid for, or so the journal says
	}
	all := make(map[string]*purchase)
	for _, i := range checks {
		o := &b.s.h.Ops[i]
		if o.Key == "" {
			if o.Outcome == OK && o.Reply.Decision != "" {
				b.name(all, o.Reply.Decision, i)
			}
			continue
		}
		for domain := range domains {
			b.name(all, debitKey(domain, o.Account, o.Key), i)
		}
	}
	return all
}

func (b *books) name(all map[string]*purchase, key string, i int32) {
	p := all[key]
	if p == nil {
		p = &purchase{sure: true}
		all[key] = p
	}
	o := &b.s.h.Ops[i]
	p.ops = append(p.ops, i)
	if o.Outcome != OK {
		p.sure = false
		return
	}
	for _, src := range o.Reply.Sources {
		if src.CreditsMicros > 0 {
			p.known = true
		}
	}
	p.paid = max(p.paid, paid(o))
}

// paid returns the micro-credits that a decision told to be paid.
func paid(o *Op) (micros int64) {
	for _, src := range o.Reply.Sources {
		micros += src.CreditsMicros
	}
	return micros
}

// debitKey is the ledger's key of the debit of a check with an idempotency key, as package policy makes it of a key that
// carries no time.
func debitKey(domain, account, key string) string {
	b := []byte{}
	for _, part := range []string{"check\x00", domain, account, key} {
		if part != "check\x00" {
			b = binary.AppendUvarint(b, uint64(len(part)))
		}
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return "check-" + hex.EncodeToString(sum[:16])
}
