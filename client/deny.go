package client

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// denials are refusals that only time can change, so that who hammers a limit does not load its home. A change of the
// policy forgets them, and so does a settlement, which may have given something back. At the bound the least lately used
// goes.
type denials struct {
	cap     time.Duration
	some    atomic.Bool                    // whether there is any, so that most checks take no lock
	settled [ring.Partitions]atomic.Uint32 // settlements that this client delivered

	mu  sync.Mutex // guards what follows
	all *lru[denial]
}

type denial struct {
	at, until time.Time
	cost      map[string]int64
	decision  Decision
	mark      mark
}

// mark is what was settled in the partition of an account when a check of it was sent.
type mark struct {
	known     bool // whose account it is
	partition uint16
	settled   uint32
}

func newDenials(c *Config) *denials {
	d := &denials{cap: c.DenyCap}
	if c.DenyMax > 0 {
		d.all = newLRU[denial](c.DenyMax)
	}
	return d
}

// askable tells whether a request may be answered from memory: it wants nothing but a yes or no for its cost. With a
// key, it may repeat one that was admitted.
func askable(q *CheckRequest) bool {
	return (q.Mode == "" || q.Mode == Consume) && q.IdempotencyKey == "" && q.Ticket == "" && q.MaxWaitMS == 0 && !q.Explain
}

// lasting tells whether only time ends a refusal: no limit that refused can be bought past or freed by another request.
func lasting(d *Decision) bool {
	if d.Verdict != verdictDeny || d.RetryAfterMS <= 0 || d.Reason != "RATE_LIMITED" && d.Reason != "QUOTA_EXHAUSTED" {
		return false
	}
	refused := false
	for i := range d.Limits {
		if l := &d.Limits[i]; l.Refused && !l.Shadow {
			refused = true
			if l.Spill || l.InFlight {
				return false
			}
		}
	}
	return refused
}

// mark is taken before a check is sent.
func (s *denials) mark(account string, partition uint16) mark {
	if account == "" || s.all == nil {
		return mark{}
	}
	return mark{true, partition, s.settled[partition].Load()}
}

// settle forgets the refusals of a partition, those that are on their way too.
func (s *denials) settle(partition uint16) { s.settled[partition].Add(1) }

// holds tells whether nothing was settled since.
func (s *denials) holds(m mark) bool { return m.known && s.settled[m.partition].Load() == m.settled }

// add remembers a decision if it is a lasting refusal, until just before it would change. That of an unknown account is
// not: nobody could tell what gives it something back.
func (s *denials) add(clock func() time.Time, before mark, r *asked, d *Decision) {
	if s.all == nil || !lasting(d) || !askable(r.CheckRequest) || !s.holds(before) {
		return
	}
	now := clock()
	keep := min(s.cap, time.Duration(d.RetryAfterMS)*time.Millisecond)
	keep -= time.Duration(rand.Int64N(int64(keep)/10 + 1)) // clients do not come back in step, nor refuse what would pass
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.all.find(r.shape)
	if v == nil {
		v = s.all.add(r.shape)
	}
	*v = denial{now, now.Add(keep), maps.Clone(r.Cost), d.clone(), before}
	s.some.Store(true)
}

// find returns the refusal that a request would meet again.
func (s *denials) find(clock func() time.Time, r *asked, view *routes) (Decision, bool) {
	if !s.some.Load() || !askable(r.CheckRequest) {
		return Decision{}, false
	}
	now := clock()
	s.mu.Lock()
	v := s.all.find(r.shape)
	if v != nil && (now.Before(v.at) || !now.Before(v.until) || !s.holds(v.mark) || view != nil && view.view.PolicyVersion > v.decision.PolicyVersion) {
		s.all.remove(r.shape)
		s.some.Store(len(s.all.byKey) > 0)
		v = nil
	}
	var hit denial
	if v != nil {
		hit = *v // what is in it does not change
	}
	s.mu.Unlock()
	if v == nil || !covers(r.CheckRequest, hit.cost) {
		return Decision{}, false
	}
	return hit.again(now), true
}

// covers tells whether a request uses at least what was refused. It names the same meters, for it has the same shape.
func covers(q *CheckRequest, refused map[string]int64) bool {
	if q.used(meterRequests) < usedOf(refused, meterRequests) {
		return false
	}
	for meter, amount := range refused {
		if q.used(meter) < amount {
			return false
		}
	}
	return true
}

// again is the refusal as it is now: with what is left of its waits.
func (d *denial) again(now time.Time) Decision {
	out := d.decision.clone()
	gone := now.Sub(d.at).Milliseconds()
	left := func(ms int64) int64 {
		if ms <= 0 {
			return ms
		}
		return max(ms-gone, 1)
	}
	out.Cached, out.RetryAfterMS = true, left(out.RetryAfterMS)
	for i := range out.Limits {
		out.Limits[i].ResetMS, out.Limits[i].WaitMS = left(out.Limits[i].ResetMS), left(out.Limits[i].WaitMS)
	}
	return out
}

// clone shares nothing with d that its holder could change.
func (d *Decision) clone() Decision {
	out := *d
	out.Violated, out.Explain = slices.Clone(d.Violated), slices.Clone(d.Explain)
	out.Sources, out.Limits = slices.Clone(d.Sources), slices.Clone(d.Limits)
	out.Degrade = maps.Clone(d.Degrade)
	return out
}
