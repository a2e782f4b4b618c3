package client

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
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
	cost      []*weirv1.Cost
	decision  *weirv1.Decision
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
func askable(r *weirv1.CheckRequest) bool {
	return r.GetMode() == weirv1.Mode_MODE_CONSUME && r.GetIdempotencyKey() == "" && r.GetTicket() == "" && r.GetMaxWaitMs() == 0 && !r.GetExplain()
}

// lasting tells whether only time ends a refusal: no limit that refused can be bought past or freed by another request.
func lasting(d *weirv1.Decision) bool {
	if d.GetVerdict() != weirv1.Verdict_VERDICT_DENY || d.GetRetryAfterMs() <= 0 {
		return false
	}
	if d.GetReason() != "RATE_LIMITED" && d.GetReason() != "QUOTA_EXHAUSTED" {
		return false
	}
	refused := false
	for _, l := range d.GetLimits() {
		if l.GetRefused() && !l.GetShadow() {
			refused = true
			if l.GetSpill() || l.GetInFlight() {
				return false
			}
		}
	}
	return refused
}

// mark is taken before a check is sent.
func (s *denials) mark(domain, account string) mark {
	if account == "" || s.all == nil {
		return mark{}
	}
	p := ring.Partition(domain, account)
	return mark{true, p, s.settled[p].Load()}
}

// settle forgets the refusals of a partition, those that are on their way too.
func (s *denials) settle(partition uint16) { s.settled[partition].Add(1) }

// holds tells whether nothing was settled since.
func (s *denials) holds(m mark) bool { return m.known && s.settled[m.partition].Load() == m.settled }

// add remembers a decision if it is a lasting refusal, until just before it would change. That of an unknown account is
// not: nobody could tell what gives it something back.
func (s *denials) add(now time.Time, shape uint64, before mark, r *weirv1.CheckRequest, d *weirv1.Decision) {
	if s.all == nil || !askable(r) || !lasting(d) || !s.holds(before) {
		return
	}
	keep := min(s.cap, time.Duration(d.GetRetryAfterMs())*time.Millisecond)
	keep -= time.Duration(rand.Int64N(int64(keep)/10 + 1)) // clients do not come back in step, nor refuse what would pass
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.all.find(shape)
	if v == nil {
		v = s.all.add(shape)
	}
	*v = denial{now, now.Add(keep), r.GetCost(), d, before}
	s.some.Store(true)
}

// find returns the refusal that a request would meet again.
func (s *denials) find(now time.Time, shape uint64, r *weirv1.CheckRequest, view *routes) (Decision, bool) {
	if !s.some.Load() || !askable(r) {
		return Decision{}, false
	}
	s.mu.Lock()
	v := s.all.find(shape)
	if v != nil && (now.Before(v.at) || !now.Before(v.until) || !s.holds(v.mark) || view != nil && view.view.PolicyVersion > v.decision.GetPolicyVersion()) {
		s.all.remove(shape)
		s.some.Store(len(s.all.byKey) > 0)
		v = nil
	}
	var hit denial
	if v != nil {
		hit = *v
	}
	s.mu.Unlock()
	if hit.decision == nil || !covers(r, hit.cost) {
		return Decision{}, false
	}
	return hit.again(now), true
}

// covers tells whether a request uses at least what was refused. It names the same meters, for it has the same shape.
func covers(r *weirv1.CheckRequest, refused []*weirv1.Cost) bool {
	asked := &weirv1.CheckRequest{Cost: refused}
	if used(r, meterRequests) < used(asked, meterRequests) {
		return false
	}
	for _, c := range refused {
		if used(r, c.GetMeter()) < c.GetAmount() {
			return false
		}
	}
	return true
}

// again is the refusal as it is now: with what is left of its waits.
func (d *denial) again(now time.Time) Decision {
	out := ofDecision(d.decision)
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
