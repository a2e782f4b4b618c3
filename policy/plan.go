package policy

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

const (
	keyBytes   = 512  // room for the text of most bucket keys
	matchesMax = 256  // limits that one request has to pass; one that matches more is ErrInvalid
	stepsMax   = 1000 // lines of an explanation; the last one says how many more there are
)

// plan is what one request has to pass: the limits that match and the takes that ask them. Nothing in it was asked
// yet. A plan is reused; the slices keep their room.
type plan struct {
	policy  *Policy
	at      time.Time
	domain  *Domain
	account Account
	special *special // of the account, nil for nearly all
	cost    amounts
	limits  []*limit       // that match, in the policy's order
	takes   []limiter.Take // one for each of limits
	shares  []limiter.Limit
	found   []int32
	steps   []Step
	unsaid  int  // steps beyond stepsMax
	matched bool // some limit matches, whether or not it has something to count
	blocked bool // the account is refused everything
	why     string
	explain bool
	prompt  bool // it may not wait: what would is errWaits
	text    []byte

	// What the decision is written into, if the caller has room to reuse.
	states  []LimitState
	sources []Draw

	answer *Decision // the caller's, written over
	spent  draft     // what was drawn from the ledger for it

	ids *ids
}

func newPlan() *plan { return &plan{text: make([]byte, 0, keyBytes), ids: new(ids)} }

// reset forgets everything that belongs to a request, so that a pooled plan keeps nothing of it alive.
func (p *plan) reset() {
	clear(p.limits)
	clear(p.takes)
	*p = plan{limits: p.limits[:0], takes: p.takes[:0], shares: p.shares[:0], found: p.found[:0], text: p.text[:0], ids: p.ids}
}

// make validates the request and finds what it has to pass at the time.
func (p *plan) make(current *Policy, h limiter.Hasher, r *Request, at time.Time) error {
	if current == nil {
		return fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	d, err := current.domainOf(r)
	if err != nil {
		return err
	}
	if p.cost, err = d.validate(r); err != nil {
		return err
	}
	if p.account, err = current.Locate(r); err != nil {
		return err
	}
	p.policy, p.at, p.domain, p.explain = current, at, d, r.Explain
	p.special = current.special(p.account.Domain, p.account.ID)
	if p.why, p.blocked = p.special.blocked(at); p.blocked && p.explain {
		p.step("block", "refuses", "the account is blocked")
	}
	if d.envoy != nil {
		d.envoy.make(p, h, r)
		return nil
	}
	if p.explain {
		for i := range d.limits {
			if err := p.consider(&d.limits[i], h, r); err != nil {
				return err
			}
		}
		return nil
	}
	p.found = d.limitIndex.candidates(p.found[:0], r.Attributes)
	for _, i := range p.found {
		if err := p.consider(&d.limits[i], h, r); err != nil {
			return err
		}
	}
	return nil
}

// consider adds a limit to the plan if it matches and has something to count.
func (p *plan) consider(l *limit, h limiter.Hasher, r *Request) error {
	if c := unmet(l.match, r.Attributes); c != nil {
		if p.explain {
			p.step("limit "+l.name, "no match", "it asks for "+c.String())
		}
		return nil
	}
	if missing := p.key(l, r.Attributes); missing != "" {
		if p.explain {
			p.step("limit "+l.name, "no match", "the request has no attribute "+missing)
		}
		return nil
	}
	p.matched = true
	if p.cost[l.meter] == 0 && p.cost != (amounts{}) {
		if p.explain {
			p.step("limit "+l.name, "skipped", "the request costs no "+p.domain.meters[l.meter])
		}
		return nil
	}
	if len(p.limits) == matchesMax {
		return invalid("it matches more than %d limits of domain `%s`", matchesMax, p.domain.name)
	}
	t := limiter.Take{
		Key: h.Key(p.text), Limit: &l.bound, Cost: p.cost[l.meter], Meter: l.meter, Whole: l.meter == meterRequests,
		Spill: l.spill, Charge: l.charge || r.Charge && !l.keep && !l.spill, Shadow: l.shadow,
	}
	if l.bound.Algorithm == limiter.Concurrency {
		t.Cost, t.Charge = min(t.Cost, 1), false // a request is in flight once, whatever it costs, or not at all
	}
	if own, ok := p.special.bound(l.name, p.at); ok {
		t.Limit = own
		if p.explain {
			p.step("override "+l.name, "applies", "this account has a limit of its own")
		}
	}
	p.limits, p.takes = append(p.limits, l), append(p.takes, t)
	return nil
}

// key writes the text of the limit's bucket key for these attributes to p.text, or returns the attribute that is missing.
func (p *plan) key(l *limit, attributes []Attribute) (missing string) {
	p.text = append(p.text[:0], l.prefix...)
	for _, name := range l.key {
		v, ok := attribute(attributes, name)
		if !ok {
			return name
		}
		p.text = framed(p.text, v)
	}
	if g := p.special.generation(l.name); g > 0 { // the prefix tells how many values there are, so nothing can meet this
		p.text = binary.AppendUvarint(p.text, g)
	}
	return ""
}

// step adds a line to the explanation; only for a request that asked for one.
func (p *plan) step(rule, result, detail string) {
	if len(p.steps) == stepsMax {
		p.unsaid++
		return
	}
	p.steps = append(p.steps, Step{rule, result, detail})
}

// explained returns a copy of the explanation.
func (p *plan) explained() []Step {
	if !p.explain {
		return nil
	}
	steps := append([]Step(nil), p.steps...)
	if p.unsaid > 0 {
		steps = append(steps, Step{"more", "left out", fmt.Sprintf("%d more lines", p.unsaid)})
	}
	return steps
}

// drop forgets the limits, because they were not asked and have nothing to say.
func (p *plan) drop() { p.limits, p.takes = p.limits[:0], p.takes[:0] }

// guard lets no limit spill any more, so that they say what they would without credit.
func (p *plan) guard() {
	for i := range p.takes {
		p.takes[i].Spill = false
	}
}

// look has the takes ask only: nothing spills, and what is refused is not counted. A look that costs nothing goes on to
// tell debt from none, as the Envoy door wants it.
func (p *plan) look() {
	p.guard()
	for i := range p.takes {
		if t := &p.takes[i]; t.Cost > 0 {
			t.Charge = false
		}
	}
}

// slot makes the decision's id that of the places which its limits on concurrency give.
func (p *plan) slot(id ulid.ULID) {
	key := slotOf(id)
	for i := range p.takes {
		p.takes[i].Slot = key
	}
}

// refusing returns the index of the refusing limit with the longest wait, -1 when none refuses. A cost above what
// a limit can ever hold is the longest of all. Shadow limits do not count.
func (p *plan) refusing() int {
	worst := -1
	for i := range p.takes {
		t := &p.takes[i]
		if t.Refused && !t.Shadow && (worst < 0 || p.takes[worst].Wait != limiter.Never && (t.Wait == limiter.Never || t.Wait > p.takes[worst].Wait)) {
			worst = i
		}
	}
	return worst
}

// price returns the first row of the price table that the attributes match, and its number from 1.
func (d *Domain) price(attributes []Attribute) (*price, int) {
	var room [16]int32
	for _, i := range d.priceIndex.candidates(room[:0], attributes) {
		if unmet(d.prices[i].match, attributes) == nil {
			return &d.prices[i], int(i) + 1
		}
	}
	return nil, 0
}
