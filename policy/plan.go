package policy

import (
	"fmt"
	"strconv"

	"github.com/weir-cluster/weir/limiter"
)

// keyBytes is room for the text of most bucket keys.
const keyBytes = 512

// plan is what one request has to pass: the limits that match and the takes that ask them. Nothing in it was asked
// yet. A plan is reused; the slices keep their room.
type plan struct {
	policy  *Policy
	domain  *Domain
	account Account
	cost    amounts
	limits  []*limit       // that match, in the policy's order
	takes   []limiter.Take // one for each of limits
	shares  []limiter.Limit
	steps   []Step
	matched bool // some limit matches, whether or not it has something to count
	explain bool
	text    []byte
}

// reset forgets everything that belongs to a request, so that a pooled plan keeps nothing of it alive.
func (p *plan) reset() {
	clear(p.limits)
	clear(p.takes)
	*p = plan{limits: p.limits[:0], takes: p.takes[:0], shares: p.shares[:0], text: p.text[:0]}
}

// make validates the request and finds what it has to pass.
func (p *plan) make(current *Policy, h limiter.Hasher, r *Request) error {
	if current == nil {
		return fmt.Errorf("%w: this node has no policy yet", ErrUnavailable)
	}
	d, err := current.Domain(r.Domain)
	if err != nil {
		return err
	}
	if p.cost, err = d.validate(r); err != nil {
		return err
	}
	if p.account, err = d.accountOf(r.Attributes); err != nil {
		return err
	}
	p.policy, p.domain, p.explain = current, d, r.Explain
	look := p.cost == (amounts{})
	for i := range d.limits {
		l := &d.limits[i]
		if c := unmet(l.match, r.Attributes); c != nil {
			if p.explain {
				p.step("limit "+l.name, "no match", "it asks for "+c.String())
			}
			continue
		}
		if missing := p.key(l, r.Attributes); missing != "" {
			if p.explain {
				p.step("limit "+l.name, "no match", "the request has no attribute "+missing)
			}
			continue
		}
		p.matched = true
		if p.cost[l.meter] == 0 && !look {
			if p.explain {
				p.step("limit "+l.name, "skipped", "the request costs no "+d.meters[l.meter])
			}
			continue
		}
		p.limits = append(p.limits, l)
		p.takes = append(p.takes, limiter.Take{
			Key: h.Key(p.text), Limit: &l.bound, Cost: p.cost[l.meter],
			Meter: l.meter, Whole: l.meter == meterRequests, Spill: l.spill,
		})
	}
	return nil
}

// key writes the text of the limit's bucket key for these attributes to p.text, or returns the attribute that is missing.
func (p *plan) key(l *limit, attributes []Attribute) (missing string) {
	if p.text == nil {
		p.text = make([]byte, 0, keyBytes)
	}
	p.text = append(p.text[:0], l.prefix...)
	for _, name := range l.key {
		v, ok := attribute(attributes, name)
		if !ok {
			return name
		}
		p.text = framed(p.text, v)
	}
	return ""
}

// step adds a line to the explanation; only for a request that asked for one.
func (p *plan) step(rule, result, detail string) {
	p.steps = append(p.steps, Step{rule, result, detail})
}

// drop forgets the limits, because they were not asked and have nothing to say.
func (p *plan) drop() { p.limits, p.takes = p.limits[:0], p.takes[:0] }

// guard lets no limit spill any more, so that they say what they would without credit.
func (p *plan) guard() {
	for i := range p.takes {
		p.takes[i].Spill = false
	}
}

// refusing returns the index of the refusing limit with the longest wait, -1 when none refuses. A cost above what
// a limit can ever hold is the longest of all.
func (p *plan) refusing() int {
	worst := -1
	for i := range p.takes {
		t := &p.takes[i]
		if t.Refused && (worst < 0 || p.takes[worst].Wait != limiter.Never && (t.Wait == limiter.Never || t.Wait > p.takes[worst].Wait)) {
			worst = i
		}
	}
	return worst
}

// price returns the first row of the price table that the attributes match, and its number from 1.
func (d *Domain) price(attributes []Attribute) (*price, int) {
	for i := range d.prices {
		if unmet(d.prices[i].match, attributes) == nil {
			return &d.prices[i], i + 1
		}
	}
	return nil, 0
}

// decision begins a Decision with the limits as the takes left them.
func (p *plan) decision() Decision {
	d := Decision{PolicyVersion: p.policy.version}
	if len(p.takes) > 0 {
		d.Limits = make([]LimitState, len(p.takes))
	}
	for i := range p.takes {
		t, l := &p.takes[i], p.limits[i]
		d.Limits[i] = LimitState{
			Name: l.name, Limit: t.Limit.Count, Window: t.Limit.Period, Meter: p.domain.meters[l.meter],
			Remaining: t.Remaining, Reset: t.Reset, Wait: max(t.Wait, 0), Refused: t.Refused,
		}
		if p.explain {
			result := "admits"
			if t.Refused {
				result = "refuses"
			}
			p.step("limit "+l.name, result, fmt.Sprintf("%d %s asked, %d taken, %d left", t.Cost, p.domain.meters[l.meter], t.Taken, t.Remaining))
		}
	}
	return d
}

// terms says what a limit admits, in words.
func (p *plan) terms(i int) string {
	t, l := &p.takes[i], p.limits[i]
	return "Limit " + l.name + " allows " + strconv.FormatInt(t.Limit.Count, 10) + " " + p.domain.meters[l.meter] + " per " + periodWords(t.Limit.Period)
}
