package client

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// askAgain is when to ask again where no bucket tells: a node may answer then.
const askAgain = time.Second

// spare decides while no node answers, by what each limit's fallback says. It knows the limits from the last decision
// for the same domain, attributes and meters. It never draws credit and makes no reservation: what a RESERVE asks for is
// taken as by CONSUME.
type spare struct {
	otherwise Fallback

	mu      sync.Mutex // guards what follows
	met     *lru[meeting]
	buckets *lru[bucket]
}

// meeting is what a request met when it was last decided.
type meeting struct {
	policy uint64
	barred bool // whatever its limits say, it is refused: blocked, or nothing matches
	limits []guard
}

// guard is what a fallback must know of a limit.
type guard struct {
	name, meter  string
	limit, burst int64
	window       time.Duration
	fallback     weirv1.Fallback
}

func newSpare(c *Config) *spare {
	return &spare{otherwise: c.Fallback, met: newLRU[meeting](c.Accounts), buckets: newLRU[bucket](4 * c.Accounts)}
}

// remember keeps what a node's decision tells of the limits. A fallback of the node's tells its share of them, or none.
func (s *spare) remember(shape uint64, d *weirv1.Decision) {
	if strings.HasPrefix(d.GetReason(), reasonFallback) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.met.find(shape)
	if m == nil {
		m = s.met.add(shape)
	} else if m.same(d) {
		return
	}
	*m = meeting{policy: d.GetPolicyVersion(), barred: barred(d)}
	for _, l := range d.GetLimits() {
		if !l.GetShadow() {
			m.limits = append(m.limits, guardOf(l))
		}
	}
}

func guardOf(l *weirv1.LimitState) guard {
	return guard{
		name: l.GetName(), meter: l.GetMeter(), limit: l.GetLimit(), burst: l.GetBurst(),
		window: time.Duration(l.GetWindowMs()) * time.Millisecond, fallback: l.GetFallback(),
	}
}

// same tells whether d would be remembered as what m is, without allocating.
func (m *meeting) same(d *weirv1.Decision) bool {
	if m.policy != d.GetPolicyVersion() || m.barred != barred(d) {
		return false
	}
	i := 0
	for _, l := range d.GetLimits() {
		if l.GetShadow() {
			continue
		}
		if i >= len(m.limits) || m.limits[i] != guardOf(l) {
			return false
		}
		i++
	}
	return i == len(m.limits)
}

func barred(d *weirv1.Decision) bool {
	return d.GetReason() == "BLOCKED" || d.GetReason() == "NO_MATCH"
}

// question is what is decided here, because of why.
type question struct {
	shape   uint64
	r       *weirv1.CheckRequest
	account string  // empty when unknown: its shares are then those of the shape
	view    *routes // nil before the first
	why     error
}

// decide decides on this client alone.
func (s *spare) decide(now time.Time, sh shaper, q *question) Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.met.find(q.shape)
	if m == nil {
		return s.stranger(q)
	}
	d := q.decision(m.policy)
	if m.barred {
		return d.close("this account was last known to be refused")
	}
	var shared []guard
	for _, g := range m.limits {
		switch {
		case used(q.r, g.meter) == 0 && !looks(q.r):
		case g.fallback == weirv1.Fallback_FALLBACK_CLOSED, g.fallback == weirv1.Fallback_FALLBACK_UNSPECIFIED && s.otherwise == FallbackClosed:
			d.Limits = []Limit{{Name: g.name, Limit: g.limit, Meter: g.meter, WindowMS: g.window.Milliseconds(), Refused: true, Fallback: FallbackClosed.String()}}
			return d.close("limit " + g.name + " admits nothing without one")
		case g.fallback == weirv1.Fallback_FALLBACK_SHARE:
			shared = append(shared, g)
		}
	}
	if len(shared) == 0 {
		return d.open(q.r, "the limits are open until one can")
	}
	return s.share(now, sh, q, d, shared)
}

// stranger decides for what was never decided before.
func (s *spare) stranger(q *question) Decision {
	word, known := s.otherwise.String(), false
	d := q.decision(0)
	if q.view != nil {
		d.PolicyVersion = q.view.view.PolicyVersion
		if domain := q.view.domains[q.r.GetDomain()]; domain != nil && (domain.Fallback == FallbackOpen.String() || domain.Fallback == FallbackClosed.String()) {
			word, known = domain.Fallback, true
		}
	}
	told := "this client knows no limits of the account and is told to be " + word
	if known {
		told = "all limits of the domain are " + word
	}
	if word == FallbackOpen.String() {
		return d.open(q.r, told)
	}
	return d.close(told)
}

// share takes from this client's share of every limit, or from none.
func (s *spare) share(now time.Time, sh shaper, q *question, d Decision, limits []guard) Decision {
	n := q.view.clients()
	account := q.account
	if account == "" {
		account = strconv.FormatUint(q.shape, 16)
	}
	taken := make([]*bucket, len(limits))
	parts := make([]part, len(limits))
	refusing, longest := -1, time.Duration(0)
	for i, g := range limits {
		b := s.bucket(now, sh.share(q.r.GetDomain(), account, g.name))
		if b == nil {
			return d.close("this client shares out as many limits as it can keep")
		}
		p := partOf(g.limit, g.burst, g.window, n)
		b.fill(p, now)
		taken[i], parts[i] = b, p
		wait := b.wait(p, used(q.r, g.meter))
		if wait != 0 && (refusing < 0 || longer(wait, longest)) {
			refusing, longest = i, wait
		}
	}
	for i, g := range limits {
		cost := used(q.r, g.meter)
		wait := taken[i].wait(parts[i], cost)
		if refusing < 0 && q.r.GetMode() != weirv1.Mode_MODE_PEEK {
			taken[i].take(parts[i], cost)
		}
		d.Limits = append(d.Limits, Limit{
			Name: g.name, Limit: parts[i].units, Remaining: int64(taken[i].level), Meter: g.meter, WindowMS: g.window.Milliseconds(),
			ResetMS: taken[i].full.Sub(now).Milliseconds(), Refused: wait != 0, WaitMS: wait.Milliseconds(), Fallback: fallbackShare,
		})
	}
	d.Reason = reasonShare
	if refusing < 0 {
		d.Verdict, d.Message = verdictAllow, d.Message+"within this client's share of the limits."
		d.Sources = drawn(q.r)
		return d
	}
	if longest < 0 { // it is the share that never has so much; the cluster may
		longest = askAgain
	}
	d.Verdict, d.Remedy, d.RetryAfterMS = verdictDeny, remedyWait, longest.Milliseconds()
	d.Message += fmt.Sprintf("this client's share of limit %s, one of %d, is used up; try again in %v.", limits[refusing].name, n, longest)
	d.refuse()
	return d
}

// bucket returns the bucket of a name. At the bound the one least lately used makes room if it is full, for then a new
// one is the same; else there is none.
func (s *spare) bucket(now time.Time, name uint64) *bucket {
	if b := s.buckets.find(name); b != nil {
		return b
	}
	if last := s.buckets.oldest(); last != nil && now.Before(last.full) {
		return nil
	}
	return s.buckets.add(name)
}

func longer(a, b time.Duration) bool { return a < 0 || b >= 0 && a > b }

func looks(r *weirv1.CheckRequest) bool { return r.GetMode() == weirv1.Mode_MODE_PEEK }

// drawn is what a request uses, all of it from limits.
func drawn(r *weirv1.CheckRequest) []Draw {
	var out []Draw
	if !slices.ContainsFunc(r.GetCost(), func(c *weirv1.Cost) bool { return c.GetMeter() == meterRequests }) {
		out = append(out, Draw{Source: sourceLimit, Meter: meterRequests, Amount: 1})
	}
	for _, c := range r.GetCost() {
		if c.GetAmount() > 0 {
			out = append(out, Draw{Source: sourceLimit, Meter: c.GetMeter(), Amount: c.GetAmount()})
		}
	}
	return out
}

// decision begins one that no node made.
func (q *question) decision(policy uint64) Decision {
	d := Decision{Message: "No node of the cluster could be asked; ", Remedy: remedyNone, PolicyVersion: policy, Sources: []Draw{}, Limits: []Limit{}}
	if q.view != nil {
		d.Epoch = q.view.view.Epoch
	}
	if q.r.GetExplain() {
		d.Explain = []Step{{Rule: "client", Result: "fallback", Detail: q.why.Error()}}
	}
	return d
}

func (d Decision) open(r *weirv1.CheckRequest, why string) Decision {
	d.Verdict, d.Reason, d.Message = verdictAllow, reasonOpen, d.Message+why+"."
	d.Sources = drawn(r)
	return d
}

func (d Decision) close(why string) Decision {
	d.Verdict, d.Reason, d.Remedy = verdictDeny, reasonClosed, remedyWait
	d.Message, d.RetryAfterMS = d.Message+why+".", askAgain.Milliseconds()
	d.refuse()
	return d
}
