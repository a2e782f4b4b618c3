package policy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

// FallbackConfig is what a Fallback works with. All of it is needed.
type FallbackConfig struct {
	Policy func() *Policy
	Limits *limiter.Store        // of shares, apart from the home's: it counts what this node admitted by its share, whatever the cause
	Hasher func() limiter.Hasher // as in WaterfallConfig, like Now and NewID
	Now    func() time.Time
}

// Fallback decides when no home can be reached, by what each limit's `fallback` says. It never spills into credit and
// makes no reservation: what a RESERVE asks for is taken as by CONSUME.
type Fallback struct {
	c     FallbackConfig
	plans sync.Pool // of *plan
}

// NewFallback returns a Fallback; there is nothing to run.
func NewFallback(c FallbackConfig) *Fallback {
	return &Fallback{c: c, plans: sync.Pool{New: func() any { return newPlan() }}}
}

// Check decides r on this node alone, in a cluster whose roster has nodes members. A matching limit that is closed
// denies; limits that share admit floor(1/nodes) of what they say, all of them or none; limits that are open are not
// asked. It does not block, and its errors are Waterfall's.
func (f *Fallback) Check(_ context.Context, r Request, nodes int) (d Decision, err error) {
	p := f.plans.Get().(*plan)
	defer func() {
		p.reset()
		f.plans.Put(p)
	}()
	if err := p.make(f.c.Policy(), f.c.Hasher(), &r, f.c.Now()); err != nil {
		return Decision{}, err
	}
	p.answer = &d
	f.decide(p, &r, nodes)
	d.Explain = p.explained()
	return d, nil
}

func (f *Fallback) decide(p *plan, r *Request, nodes int) *Decision {
	id := p.ids.next(p.at)
	if p.blocked {
		p.drop()
		return p.banned(id)
	}
	if !p.matched && p.domain.denyUnmatched {
		return p.nothingMatches(id)
	}
	closed := p.share(max(nodes, 1))
	if closed != "" {
		p.drop()
		d := p.deny(id, FallbackClosed, RemedyWait, fmt.Sprintf("%s, and limit %s admits nothing without it; try again later.", away, closed))
		d.Refusing = closed
		return d
	}
	if len(p.takes) == 0 {
		d := p.allow(id)
		d.Reason, d.Message = FallbackOpen, away+"; its limits are open until it can."
		return d
	}
	if r.Refund && r.Mode != Peek {
		d := p.refund(f.c.Limits, id, p.at.UnixNano())
		d.Reason = FallbackShare
		return d
	}
	take := f.c.Limits.Take
	if r.Mode == Peek {
		take = f.c.Limits.Peek
	}
	p.slot(id)
	outcome, _ := take(p.account.Partition, p.at.UnixNano(), p.takes)
	return p.shared(id, outcome, away)
}

// shared answers a request that was asked of this node's share; why begins the sentence that says why it was.
func (p *plan) shared(id ulid.ULID, outcome limiter.Outcome, why string) *Decision {
	if outcome == limiter.Taken {
		d := p.allow(id)
		d.Reason, d.Message = FallbackShare, why+"; within this node's share of the limits."
		return d
	}
	d := p.refused(id, outcome)
	if outcome == limiter.Full {
		return d
	}
	when := "later"
	if d.RetryAfter > 0 {
		when = "in " + waitWords(d.RetryAfter)
	}
	d.Reason, d.Remedy = FallbackShare, RemedyWait
	d.Message = fmt.Sprintf("%s, and this node's share of limit %s is used up; try again %s.", why, d.Refusing, when)
	return d
}

// share leaves only the limits that share, each cut to this node's part and without spill. It returns the first limit
// that is closed. Shadow limits have no say.
func (p *plan) share(nodes int) (closed string) {
	kept := 0
	for i, l := range p.limits {
		if l.shadow {
			continue
		}
		if p.explain {
			p.step("limit "+l.name, "fallback "+fallbackWords[l.fallback], "the home cannot be reached")
		}
		switch l.fallback {
		case fallbackClosed:
			return l.name
		case fallbackShare:
			p.limits[kept], p.takes[kept] = l, p.takes[i]
			kept++
		}
	}
	p.limits, p.takes = p.limits[:kept], p.takes[:kept]
	p.guard()
	p.cut(p.takes, nodes)
	return ""
}

// cut has takes ask for this node's part of their limits. It is done once for a plan.
func (p *plan) cut(takes []limiter.Take, nodes int) {
	p.shares = p.shares[:0]
	for i := range takes {
		p.shares = append(p.shares, takes[i].Limit.Share(nodes))
	}
	for i := range takes {
		takes[i].Limit = &p.shares[i]
	}
}
