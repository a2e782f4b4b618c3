package chaos

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// drift is by how much of itself a clock may run fast or slow: a limit that a node keeps exactly on its own clock may be
// off by as much on the harness's.
const drift = 0.002

// forever is when an operation of unknown outcome has happened at the latest.
const forever = time.Duration(math.MaxInt64)

// study is a history laid out for the checkers. Nothing in it changes the history.
type study struct {
	h         *History
	limits    map[string]bounds
	starts    map[string][]time.Duration // of each node's processes
	decisions []decision
	buckets   map[bucketID]*bucket
	reigns    map[string][]reign         // by account, in the order of their epochs
	jumps     map[string][]time.Duration // of each node's clock
}

// decision is what was decided once, however often it was answered. It surely happened between from and until.
type decision struct {
	op          int32 // whose answer came first
	again       bool  // an attempt with its key came before that one: who made it, and under which view, is not sure
	from, until time.Duration
}

type bucketID struct{ account, limit string }

// bucket is what met one limit of one account.
type bucket struct {
	decisions []int32 // into study.decisions
	doubts    []int32 // into History.Ops: of unknown outcome
}

// bounds are the widest and the narrowest that a limit says in the course of a run.
type bounds struct {
	Limit
	slowest float64 // Rate is the fastest
}

// reign is a span of epochs in which one node was seen to be home of an account.
type reign struct {
	epoch       uint64
	home        string
	run         int           // equal for epochs between which nobody else can have been home
	first, last time.Duration // of the answers under it, when the first came and the last
	asked       time.Duration // when the question of the first answer came
	late        time.Duration // when that of the last one did
}

type attempt struct{ account, key string }

func newStudy(h *History, rules []Limit) *study {
	s := &study{
		h: h, limits: make(map[string]bounds), starts: make(map[string][]time.Duration), buckets: make(map[bucketID]*bucket),
		reigns: make(map[string][]reign), jumps: make(map[string][]time.Duration),
	}
	for _, l := range rules {
		s.allow(l)
	}
	for _, e := range h.Events {
		if e.What == "start" {
			s.starts[e.Node] = append(s.starts[e.Node], e.At)
		}
	}
	for _, f := range h.Faults {
		if f.Jump > 0 {
			for _, n := range f.Nodes {
				s.jumps[n] = append(s.jumps[n], f.Jump)
			}
		}
	}
	s.read()
	for _, rs := range s.reigns {
		for i := 1; i < len(rs); i++ {
			rs[i].run = rs[i-1].run
			if rs[i].home != rs[i-1].home || rs[i].epoch > rs[i-1].epoch+1 {
				rs[i].run++
			}
		}
	}
	return s
}

// allow widens what is known of a limit: a checker takes the widest bound that was ever in force, since when a change of
// policy reached each node is not known.
func (s *study) allow(l Limit) {
	b, known := s.limits[l.Name]
	if !known {
		s.limits[l.Name] = bounds{l, l.Rate}
		return
	}
	b.slowest = min(b.slowest, l.Rate)
	b.Rate, b.Burst, b.Limit.Limit = max(b.Rate, l.Rate), max(b.Burst, l.Burst), max(b.Limit.Limit, l.Limit)
	b.Roster, b.Window = min(b.Roster, l.Roster), min(b.Window, l.Window)
	if l.Takeover != b.Takeover || l.Fallback != b.Fallback {
		b.Takeover, b.Fallback = "fresh", "" // the least that was promised
	}
	s.limits[l.Name] = b
}

// read goes through the operations once.
func (s *study) read() {
	asked := make(map[attempt]time.Duration) // when each key was first sent
	made := make(map[string]int32)           // decisions of keyed checks by their id
	for i := range s.h.Ops {
		o := &s.h.Ops[i]
		s.sight(o)
		if o.Kind != Check && o.Kind != Peek {
			continue
		}
		from, again := o.Invoked, false
		if o.Key != "" && o.Kind == Check {
			a := attempt{o.Account, o.Key}
			if first, sent := asked[a]; sent {
				from, again = first, true
			} else {
				asked[a] = from
			}
		}
		switch {
		case o.Outcome == Unknown && o.Kind == Check:
			for _, name := range s.met(o) {
				b := s.bucket(o.Account, name)
				b.doubts = append(b.doubts, int32(i))
			}
		case o.Outcome != OK:
		case again && o.Reply.Decision != "" && s.repeats(made, o):
		default:
			if o.Key != "" {
				made[o.Reply.Decision] = int32(len(s.decisions))
			}
			s.add(decision{int32(i), again, from, o.Returned})
		}
	}
}

// repeats says whether an answer repeats a decision, which then was made before it.
func (s *study) repeats(made map[string]int32, o *Op) bool {
	at, known := made[o.Reply.Decision]
	if known {
		d := &s.decisions[at]
		d.until = min(d.until, o.Returned)
	}
	return known
}

func (s *study) add(d decision) {
	at := int32(len(s.decisions))
	s.decisions = append(s.decisions, d)
	o := &s.h.Ops[d.op]
	for _, name := range s.met(o) {
		b := s.bucket(o.Account, name)
		b.decisions = append(b.decisions, at)
	}
}

// met returns the limits that a check meets: as the workload knows, else as the answer says, else any.
func (s *study) met(o *Op) []string {
	if len(o.Limits) > 0 {
		return o.Limits
	}
	var names []string
	for _, l := range o.Reply.Limits {
		names = append(names, l.Name)
	}
	if o.Outcome == Unknown {
		for name := range s.limits {
			names = append(names, name)
		}
	}
	return names
}

func (s *study) bucket(account, limit string) *bucket {
	id := bucketID{account, limit}
	b := s.buckets[id]
	if b == nil {
		b = &bucket{}
		s.buckets[id] = b
	}
	return b
}

// sight notes who answered as home under which epoch.
func (s *study) sight(o *Op) {
	if o.Outcome != OK || o.Reply.Epoch == 0 || o.Kind != Check && o.Kind != Peek || !byHome(&o.Reply) {
		return
	}
	node, account := o.Reply.Home, o.Account
	rs := s.reigns[account]
	i, known := slices.BinarySearchFunc(rs, reign{epoch: o.Reply.Epoch, home: node}, func(a, b reign) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), strings.Compare(a.home, b.home))
	})
	if !known {
		rs = slices.Insert(rs, i, reign{epoch: o.Reply.Epoch, home: node, first: o.Returned, asked: o.Invoked})
		s.reigns[account] = rs
	}
	r := &rs[i]
	if o.Returned < r.first {
		r.first, r.asked = o.Returned, o.Invoked
	}
	r.last, r.late = max(r.last, o.Returned), max(r.late, o.Invoked)
}

// byHome says whether a decision is one that only a home makes: not a fallback's, nor one that takes no bucket.
func byHome(r *Reply) bool {
	switch r.Reason {
	case "", "BLOCKED", "NO_MATCH", "INVALID":
		return false
	}
	return r.Home != "" && !byFallback(r)
}

func byFallback(r *Reply) bool { return strings.HasPrefix(r.Reason, "FALLBACK_") }

// life returns which process of a node it was that did something, none when that is not sure.
func (s *study) life(node string, from, until time.Duration) (life int, sure bool) {
	starts := s.starts[node]
	before := upTo(starts, from)
	return before, upTo(starts, until) == before
}

// calm returns when, from a moment on, no fault has held any of the nodes for so long.
func (s *study) calm(from, quiet time.Duration, nodes []string) time.Duration {
	at := from + quiet
	for again := true; again; {
		again = false
		for _, f := range s.h.Faults {
			held := slices.ContainsFunc(nodes, func(n string) bool { return slices.Contains(f.Nodes, n) || slices.Contains(f.Peers, n) })
			switch {
			case !held || f.From >= at:
			case f.Until < 0:
				return forever
			case f.Until > at-quiet:
				at, again = f.Until+quiet, true
			}
		}
	}
	return at
}

// upTo returns how many of the times are not after t.
func upTo(times []time.Duration, t time.Duration) int {
	i, _ := slices.BinarySearch(times, t+1)
	return i
}

// run returns to which run of an account's reigns an answer belongs.
func (s *study) run(account string, r *Reply) int {
	for _, g := range s.reigns[account] {
		if g.epoch == r.Epoch && g.home == r.Home {
			return g.run
		}
	}
	return -1
}

// given returns the units that an allowed request took from limits.
func given(o *Op) int64 {
	if o.Kind != Check || o.Reply.Verdict != "ALLOW" && o.Reply.Verdict != "DEGRADE" {
		return 0
	}
	if len(o.Reply.Sources) == 0 {
		return o.Cost
	}
	var units int64
	for _, src := range o.Reply.Sources {
		if src.Source == "LIMIT" {
			units += src.Amount
		}
	}
	return units
}

// excerpt returns copies of operations, in the order in which they were invoked.
func (s *study) excerpt(ops ...int32) []Op {
	slices.Sort(ops)
	var all []Op
	for _, i := range slices.Compact(ops) {
		all = append(all, s.h.Ops[i])
	}
	return all
}
