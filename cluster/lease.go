package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// LeaseTimes are what leases run on. Each node measures them by its own clock, which must be monotone and may run wrong by
// a tenth.
type LeaseTimes struct {
	Duration time.Duration // a grant holds for so long from when it was asked for
	Renewal  time.Duration // between asking for grants
	Margin   time.Duration // by so much longer does the leader take a grant to hold
}

// DefaultLeaseTimes suit an election timeout of 500 ms.
func DefaultLeaseTimes() LeaseTimes {
	return LeaseTimes{Duration: 2 * time.Second, Renewal: 300 * time.Millisecond, Margin: 200 * time.Millisecond}
}

// Held is for how long after it asked must a node be taken to hold its lease.
func (t LeaseTimes) Held() time.Duration { return t.Duration + t.Margin }

// leaseMax bounds a lease: for so long would a lost node's accounts stay without a home.
const leaseMax = time.Minute

// Validate says what does not fit: a lease must outlast a change of the leader, or every such change costs all of them.
func (t LeaseTimes) Validate(election time.Duration) error {
	switch {
	case t.Renewal < 10*time.Millisecond || t.Margin < t.Duration/20:
		return fmt.Errorf("leases: renewal %v and margin %v: at least 10ms, and a twentieth of the duration %v", t.Renewal, t.Margin, t.Duration)
	case t.Held() > leaseMax:
		return fmt.Errorf("leases: duration %v and margin %v: at most %v together", t.Duration, t.Margin, leaseMax)
	case t.Duration-t.Renewal < 3*election:
		return fmt.Errorf("leases: duration %v less renewal %v: at least three times the election timeout %v", t.Duration, t.Renewal, election)
	}
	return nil
}

// Renewal is what a node asks the leader for a lease with.
type Renewal struct {
	Name, Boot, Server string
	Epoch              uint64        // of its view
	Level              uint64        // of the newest grant it had
	Released           bool          // it decides nothing any more, for good
	Duration           time.Duration // for so long it goes by a grant
	Margin             time.Duration // for so much longer must it be taken to
	Heard              uint64        // answers to its renewals that the process has had, and one more; zero: it does not count them
	Unreached          []string      // members that it watches and does not reach, at most watchMax
	Behind             []string      // its deputies that have not acknowledged for too long
	// Ready are the partitions that move away from it by this epoch, and that their next home has whole.
	Ready []uint16
}

// Grant is a lease. A node decides for a partition as home while a grant holds, once it has begun: when Level is not below the
// epoch since which it is its home, or when the home before has said that it decides no more.
type Grant struct {
	Level    uint64 // zero: no lease
	Revision uint64 // of the book that its holder must know at least
}

// Lease is this node's right to decide as home. It is safe for concurrent use.
//
// The protocol, its proof by model checking and its bounds are Gray and Cheriton's leases (SOSP 1989) with the leader of a
// Raft group as the one that grants: see docs/architecture.md, Leases.
type Lease struct {
	cfg  LeaseConfig
	held atomic.Pointer[grant] // nil before the first grant
	ask  chan struct{}         // capacity 1: ask at once
	asks sync.WaitGroup

	mu    sync.Mutex
	freed chan struct{} // closed when a grant arrives
	level uint64        // of the newest grant
	heard uint64        // answers to renewals
	lost  uint64        // how often it ended before the next grant came
	told  time.Time     // when a refusal was logged last
	done  bool          // released
	hint  string        // who leads, as somebody else said
}

type grant struct {
	level uint64
	until time.Time
}

// LeaseConfig is what a Lease needs.
type LeaseConfig struct {
	Name     string // of this node, its process and its storage
	Boot     string
	Server   string
	Times    LeaseTimes
	Now      func() time.Time // monotone
	Views    *Views
	Policies Policies
	Quorum   Quorum
	Lessor   *Lessor // this node's own, asked while it leads
	Gossip   *Gossip
	Peers    Peers
	Copies   *Copies
	Reach    *Reach // nil: this node watches nobody
	Logger   *slog.Logger
}

const (
	// askAgain is how soon a node asks again that lacks what a new view gives it; then it takes twice as long each time.
	askAgain = 10 * time.Millisecond
	// askWait bounds one ask. A grant that comes later than it could hold is worth nothing.
	askWait = time.Second
	// hurried is how often a node asks soon that was told of a new view, since it may be told before it goes by it.
	hurried = 4
	// leaseWait bounds how long a check waits at a home whose lease is on its way.
	leaseWait = 100 * time.Millisecond
	asksMax   = 4 // under way at once: a leader that hangs must not keep this node from asking the next
)

// NewLease returns a Lease that holds nothing until Run.
func NewLease(c LeaseConfig) *Lease {
	return &Lease{cfg: c, ask: make(chan struct{}, 1), freed: make(chan struct{})}
}

// Holds says whether this node may decide for a partition as home now. Whoever has taken from a bucket must ask it
// afterwards: between an earlier answer and the take the process may have been stopped for any time.
func (l *Lease) Holds(partition uint16) bool {
	v, h := l.cfg.Views.Current(), l.held.Load()
	return v != nil && h != nil && l.cfg.Copies.Begun(partition, v.Table.Since[partition]) && l.cfg.Now().Before(h.until)
}

// Until returns when the present lease ends, and the epoch up to which it reaches; zero when there was none.
func (l *Lease) Until() (end time.Time, level uint64) {
	if h := l.held.Load(); h != nil {
		return h.until, h.level
	}
	return time.Time{}, 0
}

// Lost returns how often the lease ended before the next came.
func (l *Lease) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Whole says whether this node has a lease for all that its view gives it.
func (l *Lease) Whole() bool {
	v := l.cfg.Views.Current()
	end, _ := l.Until()
	if v == nil || !l.cfg.Now().Before(end) {
		return false
	}
	self := v.Find(l.cfg.Name)
	if self < 0 || v.Roster[self].Boot != l.cfg.Boot {
		return true
	}
	for i, home := range v.Table.Homes {
		if int(home) == self && !l.cfg.Copies.Begun(uint16(i), v.Table.Since[i]) {
			return false
		}
	}
	return true
}

// Wait waits, briefly, for the lease on a partition that this node has not begun to be home of, and says whether there is one.
// One that has ended is not waited for, since it may not come again; one that waits for the last parcel of the home before is
// waited for as long as that is.
func (l *Lease) Wait(ctx context.Context, partition uint16) bool {
	if l.lapsed(partition) {
		return false
	}
	patience := leaseWait
	if l.cfg.Copies.Awaits(partition) {
		patience = awaitLast
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !l.Holds(partition) {
		l.mu.Lock()
		freed := l.freed
		l.mu.Unlock()
		begun := l.cfg.Copies.Moved()
		if l.Holds(partition) {
			return true
		}
		select {
		case <-freed:
		case <-begun:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// lapsed says whether this node has begun to be home of a partition, and its lease has ended.
func (l *Lease) lapsed(partition uint16) bool {
	v, h := l.cfg.Views.Current(), l.held.Load()
	return v != nil && h != nil && l.cfg.Copies.Begun(partition, v.Table.Since[partition]) && !l.cfg.Now().Before(h.until)
}

// Run asks for grants until ctx ends. Then it tells the leader that this node decides nothing any more.
func (l *Lease) Run(ctx context.Context) error {
	defer l.release()
	defer l.asks.Wait()
	places := make(chan struct{}, asksMax)
	pause, hurry := askAgain/2, 0
	for {
		select {
		case places <- struct{}{}:
			l.asks.Go(func() {
				defer func() { <-places }()
				l.renew(ctx)
			})
		default:
		}
		pause = min(2*pause, l.cfg.Times.Renewal)
		if hurry--; hurry < 0 && l.Whole() {
			pause = l.step()
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.ask:
			pause, hurry = askAgain/2, hurried
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// step is until all nodes renew next, at the same time as far as their clocks agree: so the leader asks the voters once for all.
func (l *Lease) step() time.Duration {
	every := l.cfg.Times.Renewal
	now := l.cfg.Now()
	return every - now.Sub(now.Truncate(every))
}

// Ask has the node ask at once, and some times more soon after, since its view changes.
func (l *Lease) Ask() {
	select {
	case l.ask <- struct{}{}:
	default:
	}
}

// renew asks once, and takes what it is granted. The time counts from before it asked.
func (l *Lease) renew(ctx context.Context) {
	sent := l.cfg.Now()
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	g, err := l.once(ctx, l.renewal())
	if err != nil {
		l.tell(sent, err)
		return
	}
	l.mu.Lock()
	l.heard++
	l.mu.Unlock()
	revision, _ := l.cfg.Policies.Revision()
	if g.Level == 0 || g.Revision > revision || l.cfg.Views.Epoch() < g.Level {
		return // what it lacks is on its way
	}
	if l.take(&grant{g.Level, sent.Add(l.cfg.Times.Duration)}) {
		l.cfg.Copies.Reached(g.Level)
	}
}

// tell logs why there is no lease. A leader that cannot be reached is daily work; one that refuses will go on refusing.
func (l *Lease) tell(at time.Time, err error) {
	if !errors.Is(err, policy.ErrInvalid) {
		l.cfg.Logger.Debug("renew the lease", "error", err)
		return
	}
	l.mu.Lock()
	soon := !l.told.IsZero() && at.Sub(l.told) < remindEvery
	if !soon {
		l.told = at
	}
	l.mu.Unlock()
	if !soon {
		l.cfg.Logger.Warn("the leader grants this node no lease: it decides nothing as home", "error", err)
	}
}

// take goes by a grant if it is of use.
func (l *Lease) take(g *grant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held.Load()
	if l.done || h != nil && (g.until.Before(h.until) || g.level < h.level) {
		return false
	}
	if h != nil && !l.cfg.Now().Before(h.until) {
		l.lost++
	}
	l.level = max(l.level, g.level)
	l.held.Store(g)
	close(l.freed)
	l.freed = make(chan struct{})
	return true
}

func (l *Lease) renewal() Renewal {
	epoch := l.cfg.Views.Epoch()
	ready, behind := l.cfg.Copies.Whole(epoch), l.cfg.Copies.Behind()
	var unreached []string
	if l.cfg.Reach != nil {
		unreached = l.cfg.Reach.Unreached()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return Renewal{
		Name: l.cfg.Name, Boot: l.cfg.Boot, Server: l.cfg.Server, Epoch: epoch, Level: l.level, Released: l.done,
		Duration: l.cfg.Times.Duration, Margin: l.cfg.Times.Margin, Ready: ready, Heard: l.heard + 1, Unreached: unreached,
		Behind: behind,
	}
}

// once asks who leads: this node, whom the Raft group says, whom the last asked node named, or whom gossip says.
func (l *Lease) once(ctx context.Context, r Renewal) (Grant, error) {
	if l.cfg.Quorum.Leading() {
		return l.cfg.Lessor.Renew(ctx, r)
	}
	l.mu.Lock()
	name := l.hint
	l.hint = ""
	l.mu.Unlock()
	if leader, known := l.cfg.Quorum.Leader(); name == "" && known {
		name = leader
	}
	m, found := l.cfg.Gossip.Find(name)
	for _, other := range l.cfg.Gossip.Alive() {
		if !found && other.Leading {
			m, found = other, true
		}
	}
	if !found || m.Name == r.Name {
		return Grant{}, &NotLeaderError{}
	}
	g, err := l.cfg.Peers.Peer(m.Peer).Renew(ctx, r)
	if hint := leaderHint(err); hint != "" {
		l.mu.Lock()
		l.hint = hint
		l.mu.Unlock()
	}
	return g, err
}

// release ends this node's lease and says so once.
func (l *Lease) release() {
	l.mu.Lock()
	l.done = true
	l.held.Store(nil)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), catchWait)
	defer cancel()
	if _, err := l.once(ctx, l.renewal()); err != nil {
		l.cfg.Logger.Debug("release the lease", "error", err)
	}
}
