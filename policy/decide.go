package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/ledger"
	"github.com/weir-cluster/weir/limiter"
)

// allow answers a request that the limits admit in full.
func (p *plan) allow(id ulid.ULID) *Decision {
	d := p.decision()
	d.ID, d.Verdict, d.Reason, d.Message = id, Allow, OK, "Within the limits."
	d.Sources = p.fromLimits(p.sources[:0], &amounts{}, 0)
	return d
}

// paid answers a request of which units were paid for.
func (p *plan) paid(id ulid.ULID, row *price, units *amounts, cost ledger.Credits, receipt ledger.Receipt) *Decision {
	d := p.decision()
	d.ID, d.Verdict, d.Reason = id, Allow, OKCredit
	d.Message = fmt.Sprintf("Past the limit, paid with %s credits.", cost)
	if i := p.refusing(); i >= 0 {
		d.Message = fmt.Sprintf("Past limit %s, paid with %s credits.", p.limits[i].name, cost)
	}
	d.Sources = draws(p.fromLimits(p.sources[:0], units, len(receipt.Parts)), p.domain, row, units, receipt.Parts)
	if p.explain {
		for _, part := range receipt.Parts {
			p.step("credit "+part.Kind.String(), "pays", fmt.Sprintf("%s from grant %s", part.Amount, part.Grant))
		}
	}
	return d
}

// fromLimits adds what the limits gave, the cost without units, and makes room for more draws.
func (p *plan) fromLimits(all []Draw, units *amounts, more int) []Draw {
	n := more
	for m := range p.cost {
		if p.cost[m] > units[m] {
			n++
		}
	}
	all = slices.Grow(all, n)
	for m := range p.cost {
		if given := p.cost[m] - units[m]; given > 0 {
			all = append(all, Draw{Source: FromLimit, Meter: p.domain.meters[m], Amount: given})
		}
	}
	return all
}

// looked answers a PEEK.
func (p *plan) looked(id ulid.ULID, outcome limiter.Outcome) *Decision {
	if outcome == limiter.Taken {
		return p.allow(id)
	}
	d := p.refused(id, outcome)
	for i := range p.takes {
		if t := &p.takes[i]; t.Refused && !t.Shadow && !p.limits[i].spill {
			return d
		}
	}
	if outcome == limiter.Refused {
		d.Message += " A look does not ask whether credit would pay for it."
	}
	return d
}

// refused answers a request that the limits refuse.
func (p *plan) refused(id ulid.ULID, outcome limiter.Outcome) *Decision {
	if outcome == limiter.Full {
		return p.deny(id, FallbackClosed, RemedyWait, "This node holds as many buckets as it may and has none for this request; try again later.")
	}
	i := p.refusing()
	d := p.deny(id, RateLimited, RemedyWait, "The limits refuse this request for the moment; try again.")
	if i < 0 {
		return d
	}
	t := &p.takes[i]
	d.Refusing = p.limits[i].name
	switch t.Limit.Algorithm {
	case limiter.CalendarWindow:
		d.Reason = QuotaExhausted
	case limiter.Concurrency:
		d.Reason = ConcurrencyLimited
	}
	if t.Wait == limiter.Never {
		d.Remedy = RemedyAskOwner
		d.Message = fmt.Sprintf("%s; this request costs %d, more than it can ever hold. Ask its owner, or ask for less.", p.terms(i), t.Cost)
		return d
	}
	d.RetryAfter = t.Wait
	d.Message = fmt.Sprintf("%s; try again in %s.", p.terms(i), waitWords(t.Wait))
	if d.Reason == ConcurrencyLimited {
		d.Message = fmt.Sprintf("%s; try again when one of them has ended, in %s at the latest.", p.terms(i), waitWords(t.Wait))
	}
	return d
}

// banned answers a request of a blocked account.
func (p *plan) banned(id ulid.ULID) *Decision {
	message, until := "This account is blocked", p.special.block.Until
	if !until.IsZero() {
		message += " until " + until.UTC().Add(time.Second-1).Truncate(time.Second).Format(time.RFC3339)
	}
	if p.why != "" {
		message += ": " + strings.TrimSuffix(p.why, ".")
	}
	d := p.deny(id, Blocked, RemedyAskOwner, message+".")
	if !until.IsZero() {
		d.RetryAfter = until.Sub(p.at)
	}
	return d
}

// unwilling answers a request of an account that did not agree to pay with credit.
func (p *plan) unwilling(id ulid.ULID, balance ledger.Credits) *Decision {
	if p.explain {
		p.step("credit", "not agreed", fmt.Sprintf("account %s has %s and did not agree to pay with credit", p.account.Payer, balance))
	}
	d := p.refused(id, limiter.Refused)
	if balance > 0 {
		d.Message += " The account did not agree to pay with credit."
	}
	return d
}

// broke answers a request for which the account has not enough credit, or none that may pay for it.
func (p *plan) broke(id ulid.ULID, cost, balance ledger.Credits) *Decision {
	if p.explain {
		p.step("credit", "insufficient", fmt.Sprintf("account %s has %s and cannot pay %s", p.account.Payer, balance, cost))
	}
	if balance >= cost {
		d := p.refused(id, limiter.Refused)
		d.Message += " The account has credit, but of no kind that this domain takes."
		return d
	}
	d := p.deny(id, CreditsExhausted, RemedyBuy, "")
	i := p.refusing()
	if i < 0 {
		d.Message = fmt.Sprintf("Not enough credit is left for the %s that this costs; buy credit.", cost)
		return d
	}
	d.Refusing = p.limits[i].name
	then := "buy credit"
	if t := &p.takes[i]; t.Wait != limiter.Never {
		d.RetryAfter = t.Wait
		then += ", or try again in " + waitWords(t.Wait)
	}
	d.Message = fmt.Sprintf("%s, and not enough credit is left for the %s that this costs; %s.", p.terms(i), cost, then)
	return d
}

func (p *plan) nothingMatches(id ulid.ULID) *Decision {
	return p.deny(id, NoMatch, RemedyAskOwner, fmt.Sprintf("No limit of domain %s covers this request, and the domain admits nothing else.", p.domain.name))
}

func (p *plan) deny(id ulid.ULID, why Reason, remedy Remedy, message string) *Decision {
	d := p.decision()
	d.ID, d.Verdict, d.Reason, d.Remedy, d.Message = id, Deny, why, remedy, message
	return d
}

// draws adds what each grant paid for. The parts pay the meters in order; within a meter the units follow the credits,
// rounded down but exact in sum, so a request that several grants share stands on the one that paid its last bit.
func draws(all []Draw, d *Domain, row *price, units *amounts, parts []ledger.Part) []Draw {
	if len(parts) == 0 {
		return all
	}
	var prefix amounts
	var billed ledger.Credits
	i, left := 0, parts[0].Amount
	for m, n := range units {
		if n == 0 {
			continue
		}
		prefix[m] = n
		upTo, _ := row.of(&prefix)
		if prefix == *units {
			upTo = (&debit{parts: parts}).amount()
		}
		bill := max(upTo-billed, 0)
		billed += bill
		var paid ledger.Credits
		for given := int64(0); given < n; {
			if left == 0 && bill > 0 && i+1 < len(parts) {
				i, left = i+1, parts[i+1].Amount
			}
			part := min(left, bill-paid)
			paid, left = paid+part, left-part
			covered := n
			if paid < bill && i+1 < len(parts) {
				covered = share(n, paid, bill)
			}
			all = append(all, Draw{Source: sourceOf(parts[i].Kind), Meter: d.meters[m], Amount: covered - given, Credits: part, Grant: parts[i].Grant})
			given = covered
		}
	}
	return all
}

// share is floor(units · paid / bill), for paid below bill.
func share(units int64, paid, bill ledger.Credits) int64 {
	hi, lo := bits.Mul64(uint64(units), uint64(paid))
	q, _ := bits.Div64(hi, lo, uint64(bill))
	return int64(q)
}

func sourceOf(k ledger.Kind) Source {
	switch k {
	case ledger.Included:
		return FromIncluded
	case ledger.Promo:
		return FromPromo
	case ledger.Overdraft:
		return FromOverdraft
	default:
		return FromCredit
	}
}

// debitKey is the ledger's key for a check that has an idempotency key: bound to the domain and the account, so that
// no account meets another's keys. A key that carries a time (ULID, UUIDv7) becomes a ULID of that time, so that the
// ledger can still refuse it when it is older than what it remembers.
func debitKey(domain, account, key string) string {
	sum := sha256.Sum256(framed(framed(framed([]byte("check\x00"), domain), account), key))
	ms, ok := keyTime(key)
	if !ok {
		return "check-" + hex.EncodeToString(sum[:16])
	}
	var id ulid.ULID
	if id.SetTime(ms) != nil || id.SetEntropy(sum[:10]) != nil {
		return "check-" + hex.EncodeToString(sum[:16])
	}
	return id.String()
}

// keyTime returns the milliseconds since 1970 that a ULID or UUIDv7 carries.
func keyTime(key string) (uint64, bool) {
	if len(key) == ulid.EncodedSize {
		id, err := ulid.ParseStrict(key)
		return id.Time(), err == nil
	}
	if id, err := uuid.Parse(key); err == nil && id.Version() == 7 {
		var ms uint64
		for _, b := range id[:6] {
			ms = ms<<8 | uint64(b)
		}
		return ms, true
	}
	return 0, false
}
