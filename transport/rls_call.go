package transport

import (
	"fmt"
	"math"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/weir-cluster/weir/policy"
)

// hitsMax is the most that one descriptor is counted for. It is far above what any of Envoy's limits can hold, so more
// hits are refused and remembered all the same.
const hitsMax = 1 << 40

// call is one RateLimitRequest on its way to an answer.
type call struct {
	style string  // of rate-limit headers
	asks  []asked // in the order of the descriptors
}

// asked is one descriptor: what its rule is, and what its home says.
type asked struct {
	open     bool              // there is something to decide
	rule     *policy.EnvoyRule // nil without one, or when the request brings its own limit along
	native   bool              // the domain's rules are in our language
	unit     policy.EnvoyUnit  // of the limit in an Envoy tree
	multiple uint32            // units in its window
	request  policy.Request
	decision policy.Decision
}

// newCall checks a request and resolves its descriptors under the policy. An unknown domain has no rules.
func newCall(p *policy.Policy, r *rlsv3.RateLimitRequest) (*call, error) {
	switch n := len(r.GetDescriptors()); {
	case r.GetDomain() == "":
		return nil, fmt.Errorf("%w: rate limit domain must not be empty", policy.ErrInvalid)
	case n == 0:
		return nil, fmt.Errorf("%w: rate limit descriptor list must not be empty", policy.ErrInvalid)
	case n > policy.BatchMax:
		return nil, fmt.Errorf("%w: %d descriptors, at most %d", policy.ErrInvalid, n, policy.BatchMax)
	}
	c := &call{style: styleNone, asks: make([]asked, len(r.GetDescriptors()))}
	d, err := p.Domain(r.GetDomain())
	if err != nil {
		return c, nil
	}
	c.style = d.Headers()
	for i, descriptor := range r.GetDescriptors() {
		a := &c.asks[i]
		a.request = policy.Request{Domain: r.GetDomain(), Charge: true, Attributes: entries(descriptor)}
		a.count(descriptor, r.GetHitsAddend())
		if err := a.resolve(d, descriptor.GetLimit()); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
	}
	c.replace()
	return c, nil
}

func entries(d *ratelimitv3.RateLimitDescriptor) []policy.Attribute {
	all := make([]policy.Attribute, len(d.GetEntries()))
	for i, e := range d.GetEntries() {
		all[i] = policy.Attribute{Name: e.GetKey(), Value: e.GetValue()}
	}
	return all
}

// count sets what the descriptor costs: its own hits, else those of the call, where none is one. A descriptor may ask
// for none, to look.
func (a *asked) count(d *ratelimitv3.RateLimitDescriptor, ofCall uint32) {
	hits := uint64(max(ofCall, 1))
	if own := d.GetHitsAddend(); own != nil {
		hits = own.GetValue()
	}
	a.request.Cost = []policy.Cost{{Meter: meterRequests, Amount: int64(min(hits, hitsMax))}}
	a.request.Refund = d.GetIsNegativeHits()
	if hits == 0 {
		a.request.Mode = policy.Peek
	}
}

// resolve finds the descriptor's rule. A limit that it brings along stands in for the rule and everything it says.
func (a *asked) resolve(d *policy.Domain, own *ratelimitv3.RateLimitDescriptor_RateLimitOverride) error {
	tree := d.Envoy()
	a.native = tree == nil
	switch {
	case own != nil && a.native:
		return fmt.Errorf("%w: it brings a limit along, but domain `%s` is not an Envoy tree", policy.ErrInvalid, d.Name())
	case own != nil:
		return a.override(own)
	case a.native:
		a.open = true
		return nil
	}
	if a.rule = tree.Rule(a.request.Attributes); a.rule == nil {
		return nil
	}
	a.open, a.unit, a.multiple = !a.rule.Unlimited, a.rule.Unit, 1
	return nil
}

func (a *asked) override(own *ratelimitv3.RateLimitDescriptor_RateLimitOverride) error {
	a.unit, a.multiple = policy.EnvoyUnit(own.GetUnit()), 1
	if m := own.GetUnitMultiplier(); m != nil {
		a.multiple = m.GetValue()
	}
	length := a.unit.Window()
	if own.GetUnit() < 0 || own.GetUnit() > math.MaxUint8 || length == 0 {
		return fmt.Errorf("%w: its limit has the unit %v, expected SECOND, MINUTE, HOUR, DAY, MONTH or YEAR", policy.ErrInvalid, own.GetUnit())
	}
	if a.multiple == 0 || int64(a.multiple) > math.MaxInt64/int64(length) {
		return fmt.Errorf("%w: its limit has the unit_multiplier %d, expected 1 or a few more", policy.ErrInvalid, a.multiple)
	}
	a.open = true
	a.request.Override = &policy.LimitOverride{Count: own.GetRequestsPerUnit(), Window: time.Duration(a.multiple) * length}
	return nil
}

// replace leaves out the descriptors whose rule another one's rule replaces: they are neither asked nor counted. A rule
// without a limit replaces others, but is itself there to stay.
func (c *call) replace() {
	var replaced map[string]bool
	for i := range c.asks {
		if rule := c.asks[i].rule; rule != nil {
			for _, name := range rule.Replaces {
				if replaced == nil {
					replaced = make(map[string]bool)
				}
				replaced[name] = true
			}
		}
	}
	for i := range c.asks {
		if a := &c.asks[i]; a.rule != nil && !a.rule.Unlimited && a.rule.Name != "" && replaced[a.rule.Name] {
			a.rule, a.open = nil, false
		}
	}
}
