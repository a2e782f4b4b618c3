package policy

import (
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/weir-cluster/weir/limiter"
)

const (
	noRoom = "This node holds as many buckets as it may"
	away   = "The home of this account cannot be reached"
)

// crowd is what a plan comes to when the store has no room for all of its new buckets. What has a bucket, or finds room
// for one, is asked as ever, so nobody who has used up a limit gets out of it here. Each other limit goes by its
// fallback: an open one is not asked, no more than a shadow; a closed one refuses the request; one that shares is asked for
// this node's share, in the store of shares.
//
// That share is sound: only the home comes here, and its store of shares has one bucket a key, the one that it spends
// from for homes that it cannot reach, and never empties it. So until the home's store has room again a key gets
// 1/N of its limit, and when it has, at most that much on top of a fresh bucket.
type crowd struct {
	asked  int    // so many of the plan's limits stand first and are asked; the others share
	opened string // a limit that is open, and left out of the plan; empty for none
	closed string // a limit that refuses the request; empty for none
}

// whole reports whether all that is left of the plan can be asked as ever.
func (c *crowd) whole(p *plan) bool { return c.closed == "" && c.asked == len(p.limits) }

// crowd sorts the limits of a plan for which the store has no room.
func (w *Waterfall) crowd(p *plan, now int64) (c crowd) {
	limits, takes := slices.Clone(p.limits), slices.Clone(p.takes)
	var sharing []int
	p.drop()
	for i, l := range limits {
		p.limits, p.takes = append(p.limits, l), append(p.takes, takes[i])
		if len(limits) > 1 { // of one alone it is known, and the store has looked for the dead
			if o, _ := w.c.Limits.Peek(p.account.Partition, now, p.takes); o != limiter.Full {
				continue
			}
		}
		p.limits, p.takes = p.limits[:len(p.limits)-1], p.takes[:len(p.takes)-1]
		says := "fallback " + fallbackWords[l.fallback]
		switch {
		case l.shadow:
			says = "left out"
		case l.fallback == fallbackOpen:
			c.opened = l.name
		case l.fallback == fallbackShare && w.c.Shares != nil:
			sharing = append(sharing, i)
		default:
			c.closed = l.name
		}
		if p.explain {
			p.step("limit "+l.name, says, "the node has no room for its bucket")
		}
	}
	c.asked = len(p.limits)
	for _, i := range sharing {
		p.limits, p.takes = append(p.limits, limits[i]), append(p.takes, takes[i])
	}
	return c
}

// ask is what a store does about takes: (*limiter.Store).Take or Peek.
type ask func(s *limiter.Store, part uint16, now int64, takes []limiter.Take) (limiter.Outcome, limiter.Shortfall)

// byShare decides a request of which some limits share, or refuse it. Credit buys nothing here: what this node's share
// refuses is no use that an account has to pay for.
func (w *Waterfall) byShare(p *plan, c *crowd, id ulid.ULID, now int64, ask ask) *Decision {
	if c.closed != "" {
		p.drop()
		d := p.refused(id, limiter.Full)
		d.Refusing = c.closed
		return d
	}
	p.guard()
	limits, takes := p.limits, p.takes
	p.limits, p.takes = limits[:c.asked], takes[:c.asked]
	if outcome, _ := ask(w.c.Limits, p.account.Partition, now, p.takes); outcome != limiter.Taken {
		if outcome == limiter.Refused {
			w.recount(p, now)
		}
		return p.refused(id, outcome)
	}
	shares := takes[c.asked:]
	p.cut(shares, w.c.Nodes())
	outcome, _ := ask(w.c.Shares, p.account.Partition, now, shares)
	if outcome != limiter.Taken {
		w.withdraw(p, now)
	}
	p.limits, p.takes = limits, takes
	return p.shared(id, outcome, noRoom, byShare)
}

// onlyOpen says of an admitted request that a limit was not asked, if one was not.
func (c *crowd) onlyOpen(d *Decision) *Decision {
	if c.opened != "" && d.Verdict == Allow && d.Reason == OK {
		d.Reason, d.Message = FallbackOpen, noRoom+"; limit "+c.opened+" is open until there is room."
	}
	return d
}
