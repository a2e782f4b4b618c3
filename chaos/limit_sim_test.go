package chaos

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// mill is a made-up run of a limiter that is right, but for what a test plants in it. Every account has its home among five
// nodes; homes move, a token bucket then starts with nothing and a window fresh, and some checks are decided by a share.
type mill struct {
	r       *rand.Rand
	plant   string
	planted int // how often what is planted was done
	from    time.Duration

	history *History
	levels  map[string]*level
	first   map[string]Reply // decisions of keys at a home
	views   map[string]uint64
}

// level is the state of a limit for an account at one node.
type level struct {
	epoch uint64
	at    time.Duration
	debt  float64
	log   []time.Duration
}

const (
	millLength = 60 * time.Second
	millMoves  = 9 * time.Second // between moves
	millNodes  = 5
)

func millRules() []Limit {
	return []Limit{
		{Name: "bucket", Algorithm: "token_bucket", Rate: 2, Burst: 10, Fallback: "share", Roster: millNodes},
		{Name: "log", Algorithm: "rolling_log", Limit: 12, Window: 5 * time.Second, Fallback: "closed", Roster: millNodes},
		{Name: "fixed", Algorithm: "fixed_window", Limit: 12, Window: 5 * time.Second, Fallback: "share", Roster: millNodes},
		{Name: "slide", Algorithm: "sliding_window", Limit: 12, Window: 5 * time.Second, Fallback: "share", Roster: millNodes},
	}
}

func newMill(seed uint64, plant string) *mill {
	m := &mill{
		r: rand.New(rand.NewPCG(seed, 9)), plant: plant, history: &History{},
		levels: make(map[string]*level), first: make(map[string]Reply), views: make(map[string]uint64),
	}
	m.from = 20*time.Second + time.Duration(m.r.Int64N(int64(10*time.Second)))
	for i := range millNodes {
		m.history.Events = append(m.history.Events, Event{Node: fmt.Sprint("n", i+1), What: "start"})
	}
	m.work()
	for _, node := range []string{"n1", "n2", "n3"} { // at the end all agree
		epoch := m.epoch(millLength)
		if plant == "epochs differ" && node != "n3" { // it was left behind
			epoch++
			m.planted++
		}
		m.look(node, epoch, millLength+2*time.Second)
	}
	m.history.Events = append(m.history.Events, Event{At: millLength + time.Second, What: "phase", Detail: "audit"})
	slices.SortStableFunc(m.history.Ops, func(a, c Op) int { return cmp.Compare(a.Invoked, c.Invoked) })
	return m
}

func (m *mill) look(node string, epoch uint64, at time.Duration) {
	m.history.Ops = append(m.history.Ops, Op{Invoked: at, Returned: at + time.Millisecond, Node: node, Kind: View, Outcome: OK, Reply: Reply{Epoch: epoch, Detail: "n1"}})
}

func (m *mill) between(d time.Duration) time.Duration { return time.Duration(m.r.Int64N(int64(d))) }

func (m *mill) epoch(t time.Duration) uint64 { return 1 + uint64(t/millMoves) }

// home returns who is home of an account at a moment.
func (m *mill) home(account string, epoch uint64) string {
	return fmt.Sprint("n", 1+(int(account[1])+int(epoch)*2)%millNodes)
}

// work asks 30 checks a second, most for the first account, and looks at every node's view.
func (m *mill) work() {
	for t := time.Duration(0); t < millLength; t += m.between(66 * time.Millisecond) {
		account := "a0"
		if m.r.IntN(3) == 0 {
			account = fmt.Sprint("a", 1+m.r.IntN(6))
		}
		rule := millRules()[m.r.IntN(4)]
		o := Op{Client: m.r.IntN(8), Node: fmt.Sprint("n", 1+m.r.IntN(millNodes)), Kind: Check, Account: account, Limits: []string{rule.Name}, Cost: 1}
		o.Invoked = max(0, t-m.between(30*time.Millisecond))
		o.Returned, o.Outcome = t+1+m.between(30*time.Millisecond), OK
		if m.r.IntN(6) == 0 {
			o.Key = fmt.Sprint("k", len(m.history.Ops))
		}
		before := m.planted
		m.decide(&o, rule, t)
		if m.r.IntN(33) == 0 && m.planted == before {
			o.Outcome, o.Returned, o.Reply = Unknown, -1, Reply{}
		}
		m.history.Ops = append(m.history.Ops, o)
		if o.Key != "" && m.r.IntN(2) == 0 { // again, soon
			again := o
			again.Outcome = OK
			again.Invoked, again.Returned = t+40*time.Millisecond, t+60*time.Millisecond
			m.decide(&again, rule, t+50*time.Millisecond)
			m.history.Ops = append(m.history.Ops, again)
		}
		if m.r.IntN(30) == 0 {
			m.watch(t)
		}
	}
}

// watch looks at a node's view, which may lag.
func (m *mill) watch(t time.Duration) {
	node := fmt.Sprint("n", 1+m.r.IntN(millNodes))
	epoch := m.epoch(t + time.Millisecond/2)
	if m.plant == "epoch back" && m.planted == 0 && t > m.from && epoch > 1 && m.views[node] == epoch {
		epoch--
		m.planted++
	}
	m.look(node, epoch, t)
	m.views[node] = max(m.views[node], epoch)
}

// wrong says whether what goes wrong does now: for so long, from a moment on.
func (m *mill) wrong(plant string, long time.Duration, t time.Duration) bool {
	return m.plant == plant && t >= m.from && t < m.from+long
}

// decide fills in what the home, or a fallback, answers at a moment.
func (m *mill) decide(o *Op, rule Limit, t time.Duration) {
	epoch := m.epoch(t)
	home := m.home(o.Account, epoch)
	switch {
	case m.wrong("two homes", 6*time.Second, t) && epoch > 1 && m.r.IntN(2) == 0:
		m.planted++
		epoch--
		home = m.home(o.Account, epoch)
	case m.wrong("two homes, one epoch", 6*time.Second, t) && m.r.IntN(2) == 0:
		m.planted++
		home = o.Node
	case m.r.IntN(25) == 0 || m.wrong("share is all", 6*time.Second, t) && rule.Name == "bucket":
		m.fallback(o, rule, t, epoch)
		return
	}
	if r, known := m.first[o.Account+o.Key+home+fmt.Sprint(epoch)]; known && o.Key != "" && !m.wrong("decided twice", time.Minute, t) {
		o.Reply = r
		return
	}
	l := m.level(o.Account, rule, home, epoch, t, true)
	m.answer(o, rule, l, t, rule.Burst, rule.Limit, rule.Rate)
	o.Reply.Home, o.Reply.Epoch, o.Reply.PolicyVersion = home, epoch, 1
	if o.Key != "" {
		if _, known := m.first[o.Account+o.Key+home+fmt.Sprint(epoch)]; known {
			m.planted++
		}
		m.first[o.Account+o.Key+home+fmt.Sprint(epoch)] = o.Reply
	}
}

func (m *mill) fallback(o *Op, rule Limit, t time.Duration, epoch uint64) {
	o.Reply = Reply{Verdict: "DENY", Reason: "FALLBACK_CLOSED"}
	if rule.Fallback == "share" {
		n := int64(millNodes)
		if m.wrong("share is all", 6*time.Second, t) {
			m.planted++
			n = 1
		}
		l := m.level(o.Account, rule, "share of "+o.Node, 1, t, false)
		m.answer(o, rule, l, t, rule.Burst/n, rule.Limit/n, rule.Rate/float64(n))
		o.Reply.Reason = "FALLBACK_SHARE"
	}
	if m.wrong("not declared", time.Minute, t) && m.planted == 0 {
		m.planted++
		o.Reply.Verdict, o.Reply.Reason = "ALLOW", "FALLBACK_OPEN"
	}
	o.Reply.Home, o.Reply.Epoch = o.Node, epoch
}

// level returns a limit's state at a node; of a home it begins anew with each move.
func (m *mill) level(account string, rule Limit, node string, epoch uint64, t time.Duration, home bool) *level {
	key := fmt.Sprint(account, rule.Name, node)
	l := m.levels[key]
	if l == nil || l.epoch != epoch {
		l = &level{epoch: epoch, at: t}
		if began := time.Duration(epoch-1) * millMoves; home && epoch > 1 && !m.wrong("starts full", time.Minute, t) {
			l.at, l.debt = began, float64(rule.Burst)
		} else if home && epoch > 1 && rule.Name == "bucket" {
			m.planted++
		}
		m.levels[key] = l
	}
	return l
}

// answer decides by a state.
func (m *mill) answer(o *Op, rule Limit, l *level, t time.Duration, burst, limit int64, rate float64) {
	left, wait := m.left(rule, l, t, burst, limit, rate)
	size := limit
	if rule.Algorithm == "token_bucket" {
		size = burst
	}
	allow := left >= 1
	o.Reply = Reply{Verdict: "DENY", Reason: "RATE_LIMITED", RetryAfter: wait, Decision: fmt.Sprint("d", m.r.Uint64())}
	switch {
	case !allow && m.wrong("admits too much", 8*time.Second, t):
		allow = true
		m.planted++
	case allow && left >= float64(size)-1 && m.wrong("denies", time.Minute, t) && m.planted < 9 && t%millMoves > 7*time.Second && rule.Algorithm == "token_bucket" && o.Account != "a0":
		allow, wait = false, time.Second
		m.planted++
	}
	if allow {
		l.debt++
		l.log = append(l.log, t)
		left--
		o.Reply = Reply{Verdict: "ALLOW", Reason: "OK", Decision: o.Reply.Decision, Sources: []SourceReply{{Source: "LIMIT", Amount: 1}}}
	}
	r := LimitReply{Name: rule.Name, Limit: size, Remaining: int64(max(0, math.Floor(left))), Refused: !allow}
	switch {
	case !allow && m.wrong("wait too short", time.Minute, t):
		o.Reply.RetryAfter /= 20
	case m.wrong("less than nothing", time.Minute, t) && m.planted == 0:
		r.Remaining = -1
		m.planted++
	case !allow && left < 1 && m.wrong("refuses what is left", time.Minute, t) && m.planted == 0:
		r.Remaining = 3
		m.planted++
	}
	if r.Refused && o.Reply.Verdict == "DENY" && r.Remaining >= 1 && m.plant == "denies" {
		r.Remaining = 0
	}
	o.Reply.Limits = []LimitReply{r}
}

// left returns how many units a state has, and how long until it has one.
func (m *mill) left(rule Limit, l *level, t time.Duration, burst, limit int64, rate float64) (left float64, wait time.Duration) {
	secs := func(s float64) time.Duration { return time.Duration(s*1e9) + 1 }
	if rule.Algorithm == "token_bucket" {
		l.debt = max(0, l.debt-rate*max(0, t-l.at).Seconds())
		l.at = max(l.at, t)
		left = float64(burst) - l.debt
		return left, secs(max(0, 1-left) / max(rate, 1e-9))
	}
	end := t - t%rule.Window + rule.Window
	counts := map[bool]int64{} // whether in this window
	for _, at := range l.log {
		switch {
		case rule.Algorithm == "rolling_log" && at > t-rule.Window:
			counts[true]++
		case rule.Algorithm != "rolling_log" && at >= end-rule.Window:
			counts[true]++
		case rule.Algorithm == "sliding_window" && at >= end-2*rule.Window:
			counts[false]++
		}
	}
	left = float64(limit-counts[true]) - math.Ceil(float64(counts[false])*float64(end-t)/float64(rule.Window))
	return left, end - t + 2*rule.Window
}
