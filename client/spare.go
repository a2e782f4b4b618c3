package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
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
	latest  meeting // the last that was written down; others that are the same share its limits
	buckets *lru[bucket]
}

// meeting is what a request met when it was last decided.
type meeting struct {
	policy uint64
	barred bool    // whatever its limits say, it is refused: blocked, or nothing matches
	limits []guard // never changed
}

// guard is what a fallback must know of a limit.
type guard struct {
	name, meter  string
	limit, burst int64
	window       time.Duration
	fallback     string // empty when the policy has none
}

func newSpare(c *Config) *spare {
	return &spare{otherwise: c.Fallback, met: newLRU[meeting](c.Accounts), buckets: newLRU[bucket](4 * c.Accounts)}
}

// remember keeps what a node's decision tells of the limits. A fallback of the node's tells its share of them, or none.
func (s *spare) remember(shape uint64, d *Decision) {
	if d.Fallback() {
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
	if !s.latest.same(d) {
		s.latest = meetingOf(d)
	}
	*m = s.latest
}

func meetingOf(d *Decision) meeting {
	m := meeting{policy: d.PolicyVersion, barred: barred(d)}
	for i := range d.Limits {
		if l := &d.Limits[i]; !l.Shadow {
			g := guardOf(l)
			g.name, g.meter = strings.Clone(g.name), strings.Clone(g.meter) // they are cut from a whole answer
			m.limits = append(m.limits, g)
		}
	}
	return m
}

func guardOf(l *Limit) guard {
	return guard{
		name: l.Name, meter: l.Meter, limit: l.Limit, burst: l.Burst,
		window: time.Duration(l.WindowMS) * time.Millisecond, fallback: l.Fallback,
	}
}

// same tells whether d would be remembered as what m is, without allocating.
func (m *meeting) same(d *Decision) bool {
	if m.policy != d.PolicyVersion || m.barred != barred(d) {
		return false
	}
	known := 0
	for i := range d.Limits {
		if d.Limits[i].Shadow {
			continue
		}
		if known >= len(m.limits) || m.limits[known] != guardOf(&d.Limits[i]) {
			return false
		}
		known++
	}
	return known == len(m.limits)
}

func barred(d *Decision) bool { return d.Reason == "BLOCKED" || d.Reason == "NO_MATCH" }

// question is what is decided here, because of why.
type question struct {
	*asked
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
		case q.used(g.meter) == 0 && !q.looks():
		case g.fallback == FallbackClosed.String(), g.fallback == "" && s.otherwise == FallbackClosed:
			d.Limits = []Limit{{Name: g.name, Limit: g.limit, Meter: g.meter, WindowMS: g.window.Milliseconds(), Refused: true, Fallback: FallbackClosed.String()}}
			return d.close("limit " + g.name + " admits nothing without one")
		case g.fallback == fallbackShare:
			shared = append(shared, g)
		}
	}
	if len(shared) == 0 {
		return d.open(q, "the limits are open until one can")
	}
	return s.share(now, sh, q, d, shared)
}

// stranger decides for what was never decided before.
func (s *spare) stranger(q *question) Decision {
	word, known := s.otherwise.String(), false
	d := q.decision(0)
	if q.view != nil {
		d.PolicyVersion = q.view.view.PolicyVersion
		if domain := q.view.domains[q.Domain]; domain != nil && (domain.Fallback == FallbackOpen.String() || domain.Fallback == FallbackClosed.String()) {
			word, known = domain.Fallback, true
		}
	}
	told := "this client knows no limits of the account and is told to be " + word
	if known {
		told = "all limits of the domain are " + word
	}
	if word == FallbackOpen.String() {
		return d.open(q, told)
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
		b := s.bucket(now, sh.share(q.Domain, account, g.name))
		if b == nil {
			return d.close("this client shares out as many limits as it can keep")
		}
		p := partOf(g.limit, g.burst, g.window, n)
		b.fill(p, now)
		taken[i], parts[i] = b, p
		wait := b.wait(p, q.used(g.meter))
		if wait != 0 && (refusing < 0 || longer(wait, longest)) {
			refusing, longest = i, wait
		}
	}
	for i, g := range limits {
		cost := q.used(g.meter)
		wait := taken[i].wait(parts[i], cost)
		if refusing < 0 && !q.looks() {
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
		d.Sources = q.drawn()
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

func (q *CheckRequest) looks() bool { return q.Mode == Peek }

// drawn is what a request uses, all of it from limits.
func (q *CheckRequest) drawn() []Draw {
	var out []Draw
	if _, named := q.Cost[meterRequests]; !named {
		out = append(out, Draw{Source: sourceLimit, Meter: meterRequests, Amount: 1})
	}
	for _, meter := range slices.Sorted(maps.Keys(q.Cost)) {
		if amount := q.Cost[meter]; amount > 0 {
			out = append(out, Draw{Source: sourceLimit, Meter: meter, Amount: amount})
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
	if q.Explain {
		d.Explain = []Step{{Rule: "client", Result: "fallback", Detail: q.why.Error()}}
	}
	return d
}

func (d Decision) open(q *question, why string) Decision {
	d.Verdict, d.Reason, d.Message = verdictAllow, reasonOpen, d.Message+why+"."
	d.Sources = q.drawn()
	return d
}

func (d Decision) close(why string) Decision {
	d.Verdict, d.Reason, d.Remedy = verdictDeny, reasonClosed, remedyWait
	d.Message, d.RetryAfterMS = d.Message+why+".", askAgain.Milliseconds()
	d.refuse()
	return d
}
