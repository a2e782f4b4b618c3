package policy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

// FallbackConfig is what a Fallback works with. All of it is needed.
type FallbackConfig struct {
	Policy func() *Policy
	Limits *limiter.Store        // of shares, apart from the home's: it counts what this node admitted by its share, whatever the cause
	Home   *limiter.Store        // what this node decides by as home, and its copies of what others do
	Debits Debits                // of what it admits by copies
	Hasher func() limiter.Hasher // as in WaterfallConfig, like Now and NewID
	Now    func() time.Time
}

// Debits take for a home that could not be reached, as limiter.Store.Take does from this node's copy of what the home has, and
// see that the home hears of it.
type Debits interface {
	Take(partition uint16, now int64, takes []limiter.Take) limiter.Outcome
}

// Fallback decides when no home can be reached, by what each limit's `fallback` says. It never spills into credit and
// makes no reservation: what a RESERVE asks for is taken as by CONSUME. Its methods do not block, and their errors are
// Waterfall's.
type Fallback struct {
	c     FallbackConfig
	plans sync.Pool // of *plan
}

// NewFallback returns a Fallback; there is nothing to run.
func NewFallback(c FallbackConfig) *Fallback {
	return &Fallback{c: c, plans: sync.Pool{New: func() any { return newPlan() }}}
}

// footing is by what a Fallback decides.
type footing struct {
	ground
	nodes int            // the share is one of so many; 0: not of shares
	own   *limiter.Store // what must admit the request too, for what the limits say; nil: nothing
}

// ground is what kind of thing it is.
type ground uint8

const (
	byShare ground = iota
	byHalf         // of a home without a lease
	byCopy         // of a deputy
)

// grounds say how each is told: by which reason, and within what it admits.
var grounds = [...]struct {
	reason Reason
	within string
}{
	byShare: {FallbackShare, "this node's share of"}, byHalf: {FallbackDeputy, "half of"}, byCopy: {FallbackDeputy, "the deputy's copy of"},
}

// Check decides r on this node alone, in a cluster whose roster has nodes members. A matching limit that is closed
// denies; limits that share admit floor(1/nodes) of what they say, all of them or none; limits that are open are not
// asked.
func (f *Fallback) Check(_ context.Context, r Request, nodes int) (Decision, error) {
	return f.by(&r, footing{byShare, max(nodes, 1), nil})
}

// Deputise decides r by this node's copy of what the home has: limits that share admit what they say.
func (f *Fallback) Deputise(_ context.Context, r Request) (Decision, error) {
	return f.by(&r, footing{byCopy, 0, f.c.Home})
}

// Leaseless decides r at its home, which has no lease: another node may be home soon, or be already. So limits that share
// admit what they say and what this node's share is were there two nodes: half of it.
func (f *Fallback) Leaseless(_ context.Context, r Request) (Decision, error) {
	return f.by(&r, footing{byHalf, 2, f.c.Home})
}

func (f *Fallback) by(r *Request, on footing) (d Decision, err error) {
	p := f.plans.Get().(*plan)
	defer func() {
		p.reset()
		f.plans.Put(p)
	}()
	if err := p.make(f.c.Policy(), f.c.Hasher(), r, f.c.Now()); err != nil {
		return Decision{}, err
	}
	p.answer = &d
	f.decide(p, r, on)
	d.Explain = p.explained()
	return d, nil
}

func (f *Fallback) decide(p *plan, r *Request, on footing) *Decision {
	id := p.ids.next(p.at)
	if p.blocked {
		p.drop()
		return p.banned(id)
	}
	if !p.matched && p.domain.denyUnmatched {
		return p.nothingMatches(id)
	}
	if closed := p.share(); closed != "" {
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
		store := on.own
		if store == nil {
			p.cut(p.takes, on.nodes)
			store = f.c.Limits
		}
		d := p.refund(store, id, p.at.UnixNano())
		d.Reason = grounds[on.ground].reason
		return d
	}
	p.slot(id)
	return p.shared(id, f.take(p, r.Mode == Peek, on), away, on.ground)
}

// take asks what must admit the request, all of it or none.
func (f *Fallback) take(p *plan, peek bool, on footing) limiter.Outcome {
	ask, part, now := (*limiter.Store).Take, p.account.Partition, p.at.UnixNano()
	if peek {
		ask = (*limiter.Store).Peek
	}
	if on.ground == byCopy && !peek {
		return f.c.Debits.Take(part, now, p.takes)
	}
	if on.own != nil {
		if outcome, _ := ask(on.own, part, now, p.takes); outcome != limiter.Taken || on.ground == byCopy {
			return outcome
		}
	}
	own := slices.Clone(p.takes)
	p.cut(p.takes, on.nodes)
	outcome, _ := ask(f.c.Limits, part, now, p.takes)
	if on.own != nil && outcome != limiter.Taken && !peek {
		on.own.Return(part, now, own)
	}
	return outcome
}

// shared answers a request that was asked of less than its home; why begins the sentence that says why it was.
func (p *plan) shared(id ulid.ULID, outcome limiter.Outcome, why string, on ground) *Decision {
	if outcome == limiter.Taken {
		d := p.allow(id)
		d.Reason, d.Message = grounds[on].reason, why+"; within "+grounds[on].within+" the limits."
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
	d.Reason, d.Remedy = grounds[on].reason, RemedyWait
	d.Message = fmt.Sprintf("%s, and %s limit %s is used up; try again %s.", why, grounds[on].within, d.Refusing, when)
	return d
}

// share leaves only the limits that share, without spill. It returns the first limit
// that is closed. Shadow limits have no say.
func (p *plan) share() (closed string) {
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
