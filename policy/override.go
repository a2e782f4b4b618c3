package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// Terms are what an override changes of a limit, as a policy writes them; what is left zero stays as the policy says.
// A token bucket has a Rate and a Burst; the other algorithms a Limit, and those whose window is a duration a Window.
// A Burst that the policy leaves at its rate's count follows an overridden Rate.
type Terms struct {
	Rate   string // such as 600/min
	Burst  int64
	Limit  int64
	Window string // such as 1h
}

// on returns the limit's bound under the terms, or what is wrong with them for it.
func (t Terms) on(bound limiter.Limit) (limiter.Limit, error) {
	rated := bound.Algorithm == limiter.TokenBucket
	switch {
	case t == Terms{}:
		return bound, errors.New("the override changes nothing, expected rate, burst, limit or window")
	case !rated && (t.Rate != "" || t.Burst != 0):
		return bound, fmt.Errorf("%v has no rate and no burst, expected limit or window", bound.Algorithm)
	case rated && (t.Limit != 0 || t.Window != ""):
		return bound, fmt.Errorf("%v has no limit and no window, expected rate or burst", bound.Algorithm)
	case t.Window != "" && !windowed(bound.Algorithm):
		return bound, fmt.Errorf("the window of %v cannot be overridden, expected limit", bound.Algorithm)
	case t.Burst < 0 || t.Limit < 0 || t.Burst > countMax || t.Limit > countMax:
		return bound, fmt.Errorf("a burst or limit is outside 1 to %d", int64(countMax))
	}
	follows := bound.Burst == bound.Count
	if t.Rate != "" {
		count, period, ok := parseRate(t.Rate)
		if !ok {
			return bound, fmt.Errorf("`%s` is not a rate: N/s, N/min, N/h, N/d or N/10s", short(t.Rate))
		}
		if bound.Count, bound.Period = count, period; follows {
			bound.Burst = count
		}
	}
	if t.Window != "" {
		period, ok := parseDuration(t.Window)
		if !ok {
			return bound, fmt.Errorf("`%s` is not a duration, such as 90s, 1h or 7d", short(t.Window))
		}
		bound.Period = period
	}
	if t.Burst != 0 {
		bound.Burst = t.Burst
	}
	if t.Limit != 0 {
		bound.Count = t.Limit
	}
	return bound, bound.Validate()
}

// windowed reports whether the algorithm's window is a duration that an operator may choose.
func windowed(a limiter.Algorithm) bool {
	switch a {
	case limiter.FixedWindow, limiter.SlidingWindow, limiter.RollingLog:
		return true
	}
	return false
}

// special is what holds for one account beside the policy. It is immutable; a nil one says nothing.
type special struct {
	block     *Block
	overrides map[string]overridden // by limit
	resets    map[string]uint64     // the generation, by limit; "" for all limits
}

type overridden struct {
	bound limiter.Limit
	until time.Time // zero: for good
}

// blocked returns whether the account is refused everything, and why.
func (s *special) blocked(now time.Time) (why string, is bool) {
	if s == nil || s.block == nil || past(s.block.Until, now) {
		return "", false
	}
	return s.block.Why, true
}

// bound returns what the limit is for the account instead of what the policy says. It must not be changed.
func (s *special) bound(limit string, now time.Time) (*limiter.Limit, bool) {
	if s == nil || s.overrides == nil {
		return nil, false
	}
	o, ok := s.overrides[limit]
	if !ok || past(o.until, now) {
		return nil, false
	}
	return &o.bound, true
}

// generation returns what the account's buckets of the limit are told apart by from those before its last reset. It
// is 0, and then no part of a bucket's key, for a limit that was not reset.
func (s *special) generation(limit string) uint64 {
	if s == nil || s.resets == nil {
		return 0
	}
	return max(s.resets[limit], s.resets[""])
}

// past reports whether something that ends at until has ended; with the zero time it never does.
func past(until, now time.Time) bool { return !until.IsZero() && !now.Before(until) }

// who names an account of a domain.
type who struct{ domain, account string }

// specials are those of all accounts that have one. It is immutable.
type specials map[who]*special

// special returns what holds for the account beside the policy, nil for nearly all accounts.
func (p *Policy) special(domain, account string) *special {
	if len(p.specials) == 0 {
		return nil
	}
	return p.specials[who{domain, account}]
}

// beside returns the policy with what is agreed beside it, compiled for it. An override of a limit that the policy does
// not have, or that cannot be so, is left out.
func (p *Policy) beside(a *agreed) *Policy {
	q := *p
	q.revision, q.specials = a.revision, make(specials, len(a.overrides)+len(a.blocks)+len(a.resets))
	of := func(at place) *special {
		w := who{at.domain, at.account}
		s := q.specials[w]
		if s == nil {
			s = &special{}
			q.specials[w] = s
		}
		return s
	}
	limits := p.bounds()
	for at, o := range a.overrides {
		bound, err := limits.under(at, o.terms)
		if err != nil {
			continue
		}
		s := of(at)
		if s.overrides == nil {
			s.overrides = make(map[string]overridden, 1)
		}
		s.overrides[at.limit] = overridden{bound, o.until}
	}
	for at, b := range a.blocks {
		of(at).block = &Block{at.domain, at.account, b.why, b.until}
	}
	for at, r := range a.resets {
		s := of(at)
		if s.resets == nil {
			s.resets = make(map[string]uint64, 1)
		}
		s.resets[at.limit] = r.number
	}
	return &q
}

// bounds finds what the limits of a policy are. It remembers the domains it was asked for; use it from one goroutine.
type bounds struct {
	policy *Policy
	known  map[string]map[string]*limiter.Limit // by domain and limit
}

func (p *Policy) bounds() bounds { return bounds{p, map[string]map[string]*limiter.Limit{}} }

// of returns the limits of a domain by name; nil when there is no such domain. A name that stands for limits that
// differ, as an Envoy tree may have, has a nil one.
func (b bounds) of(domain string) map[string]*limiter.Limit {
	limits, ok := b.known[domain]
	if d := b.policy.domains[domain]; !ok && d != nil {
		limits = make(map[string]*limiter.Limit, len(d.limits))
		d.each(func(l *limit) {
			if other, again := limits[l.name]; again && (other == nil || *other != l.bound) {
				limits[l.name] = nil
				return
			}
			limits[l.name] = &l.bound
		})
		b.known[domain] = limits
	}
	return limits
}

// find returns a limit, or why there is none. In an Envoy tree it is the one that the account's requests meet, unless the
// account does not tell.
func (b bounds) find(at place) (*limiter.Limit, error) {
	limits := b.of(at.domain)
	l, named := limits[at.limit]
	if named && !hashed(at.account) {
		if d, err := b.policy.Domain(at.domain); err == nil && d.envoy != nil {
			return d.envoy.limitOf(at.account, at.limit)
		}
	}
	switch {
	case l != nil:
		return l, nil
	case named:
		return nil, fmt.Errorf("domain `%s` has several limits `%s` that differ", short(at.domain), short(at.limit))
	}
	return nil, fmt.Errorf("domain `%s` has no limit `%s`%s", short(at.domain), short(at.limit), didYouMean(at.limit, slices.Sorted(maps.Keys(limits))))
}

// under returns a limit under the terms of an override, or why there is none.
func (b bounds) under(at place, terms Terms) (limiter.Limit, error) {
	l, err := b.find(at)
	if err != nil {
		return limiter.Limit{}, err
	}
	return terms.on(*l)
}

// each calls f with every limit of the domain.
func (d *Domain) each(f func(*limit)) {
	for i := range d.limits {
		f(&d.limits[i])
	}
	if d.envoy != nil {
		d.envoy.root.each(f)
	}
}

func (l *envoyLevel) each(f func(*limit)) {
	node := func(n *envoyNode) {
		if n.rule != nil && !n.rule.Unlimited {
			f(&n.rule.limit)
		}
		n.next.each(f)
	}
	for _, n := range l.exact {
		node(n)
	}
	for i := range l.prefixed {
		node(l.prefixed[i].node)
	}
	for _, n := range l.anyValue {
		node(n)
	}
}
