package cluster

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weir-cluster/weir/policy"
	"github.com/weir-cluster/weir/ring"
)

// Terms is the Raft group as leases need it.
type Terms interface {
	// Term returns this server's term and whether it leads in it, having applied what earlier leaders committed.
	Term() (term uint64, leading bool)
	// Servers returns the ids of the voters, by member name.
	Servers() (map[string]string, error)
}

// Lessor grants leases while this node leads the Raft group. It is safe for concurrent use.
//
// A grant is safe because a majority of the voters says, after it was asked for, that no later leader was elected yet; and
// a leader takes a node's partitions away only when that node's last grant has surely ended, or when it goes by a view
// that gives them to others.
type Lessor struct {
	cfg LessorConfig

	mu     sync.Mutex
	term   uint64 // that what follows is of
	since  time.Time
	first  bool // no leader before could grant anything: there was no view
	level  uint64
	risen  chan struct{} // closed when the level rises
	tenant map[tenant]tenure
	next   *round // that has not begun; nil when nobody waits for one

	turn chan struct{} // capacity 1: held by who holds a round
}

// tenant is a process that may hold a lease.
type tenant struct{ name, boot string }

type tenure struct {
	renewed time.Time // when it last asked
	epoch   uint64    // of the view that it goes by at least
	holds   bool      // it was granted a lease, now or by an earlier leader
	level   uint64    // of the newest that it was granted now
	over    bool      // it holds nothing any more, and will not again
	ready   []uint16  // partitions that it can hand over by that epoch
	behind  []string  // its deputies that do not acknowledge
	fitness
}

// LessorConfig is what a Lessor needs.
type LessorConfig struct {
	Name     string // of this node and its storage
	Server   string
	Times    LeaseTimes
	Now      func() time.Time // monotone
	Terms    Terms
	Views    *Views
	Policies Policies
	Gossip   *Gossip
	Peers    Peers
	Gather   time.Duration // a round of the voters waits so long for others that renew at the same time
}

const (
	confirmWait = 500 * time.Millisecond // bounds a round of the voters
	riseWait    = 20 * time.Millisecond  // bounds how long a renewal is held that would be of more use in a moment
)

// NewLessor returns a Lessor that has granted nothing.
func NewLessor(c LessorConfig) *Lessor {
	return &Lessor{cfg: c, turn: make(chan struct{}, 1), risen: make(chan struct{})}
}

// Renew grants a lease, or returns one of level zero when the node is none that the view names or does not go by a view
// new enough, or does not hear the answers, or cannot be reached by most. Its errors are NotLeaderError, ErrUnreachable when no
// majority of the voters answered, and policy.ErrInvalid when the node would go by a lease for longer than any leader waits for.
func (l *Lessor) Renew(ctx context.Context, r Renewal) (Grant, error) {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return Grant{}, &NotLeaderError{}
	}
	if held := r.Duration + r.Margin; held > leaseMax && !r.Released {
		return Grant{}, fmt.Errorf("%w: a lease of %v is longer than the %v that a leader waits for", policy.ErrInvalid, held, leaseMax)
	}
	at := l.cfg.Now()
	if !r.Released {
		if err := l.confirm(ctx, term); err != nil {
			return Grant{}, err
		}
	}
	g, rising, err := l.grant(term, r, at)
	if rising == nil || err != nil {
		return g, err
	}
	ctx, cancel := context.WithTimeout(ctx, riseWait)
	defer cancel()
	select {
	case <-rising:
		g, _, err = l.grant(term, r, at)
	case <-ctx.Done():
	}
	return g, err
}

// grant books a renewal and answers it. While the others have not all heard of the view that the sender goes by, rising is
// closed when they have: a grant is of use to it only then.
func (l *Lessor) grant(term uint64, r Renewal, at time.Time) (g Grant, rising <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.enter(term) {
		return Grant{}, nil, &NotLeaderError{}
	}
	v := l.cfg.Views.Current()
	l.book(r, at, v)
	k := tenant{r.Name, r.Boot}
	t := l.tenant[k]
	if v == nil || r.Epoch < v.Epoch || t.over || t.shut || !v.names(k) {
		return Grant{}, nil, nil
	}
	t.holds, t.level = true, l.level
	l.tenant[k] = t
	if l.level < v.Epoch {
		rising = l.risen
	}
	revision, _ := l.cfg.Policies.Revision()
	return Grant{Level: l.level, Revision: revision}, rising, nil
}

// names says whether the process is in the roster.
func (v *View) names(k tenant) bool {
	i := v.Find(k.name)
	return i >= 0 && v.Roster[i].Boot == k.boot
}

// enter makes what is known that of the term, if this node still leads in it.
func (l *Lessor) enter(term uint64) bool {
	if now, leading := l.cfg.Terms.Term(); !leading || now != term {
		return false
	}
	if l.term != term {
		l.term, l.since, l.level, l.tenant = term, l.cfg.Now(), 1, make(map[tenant]tenure)
		l.first = l.cfg.Views.Epoch() == 0
	}
	return true
}

// book notes what a renewal tells: of its sender, of an earlier process on the same storage, whose lock it has, and of
// the level that an earlier leader had reached.
func (l *Lessor) book(r Renewal, at time.Time, v *View) {
	k := tenant{r.Name, r.Boot}
	t := l.tenant[k]
	t.tell(r, at)
	l.judge(k, &t, v)
	if at.After(t.renewed) && !t.shut { // what is not granted ends no later for it
		t.renewed = at
	}
	if r.Epoch >= t.epoch {
		t.ready, t.behind = r.Ready, r.Behind
	}
	t.epoch, t.holds, t.over = max(t.epoch, r.Epoch), t.holds || r.Level > 0, t.over || r.Released
	l.tenant[k] = t
	l.raise(r.Level)
	if v == nil {
		return
	}
	if i := v.Find(r.Name); i >= 0 && v.Roster[i].Boot != r.Boot && v.Roster[i].Server == r.Server {
		old := tenant{r.Name, v.Roster[i].Boot}
		l.tenant[old] = tenure{over: true}
	}
	l.rise(v)
}

// rise raises the level to the newest epoch that no holder of a lease is behind.
func (l *Lessor) rise(v *View) {
	level := v.Epoch
	for k, t := range l.tenant {
		switch {
		case t.holds && !l.ended(t):
			level = min(level, t.epoch)
		case l.ended(t) && !v.names(k):
			delete(l.tenant, k) // nobody will ask about it again
		}
	}
	for _, m := range v.Roster {
		if _, known := l.tenant[tenant{m.Name, m.Boot}]; !known && !l.first && !l.ended(told(m)) {
			return // it may hold one of an earlier leader
		}
	}
	l.raise(level)
}

func (l *Lessor) raise(level uint64) {
	if level > l.level {
		l.level = level
		close(l.risen)
		l.risen = make(chan struct{})
	}
}

// ended says whether a lease has surely ended by now.
func (l *Lessor) ended(t tenure) bool {
	last := l.since
	if t.renewed.After(last) {
		last = t.renewed
	}
	return t.over || !l.cfg.Now().Before(last.Add(l.wait(t)))
}

// Ended says whether the lease of a process has surely ended, so that others may get what it was home of. Only a leader
// knows; any other says no.
func (l *Lessor) Ended(name, boot string) bool {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.enter(term) {
		return false
	}
	k := tenant{name, boot}
	t, known := l.tenant[k]
	if !known {
		t = l.unheardOf(k)
	}
	return !known && l.first || l.ended(t)
}

// Left returns how long the lease of a process may still be held, and whether this node knows: it does while it leads, and once
// the process has asked it.
func (l *Lessor) Left(name, boot string) (left time.Duration, known bool) {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.enter(term) {
		return 0, false
	}
	t, asked := l.tenant[tenant{name, boot}]
	if !asked || t.over || !t.holds {
		return 0, asked
	}
	return max(0, t.renewed.Add(cmp.Or(t.duration, l.cfg.Times.Duration)).Sub(l.cfg.Now())), true
}

// Settled says whether every node that the view names has a lease for all that it is given, or surely none. Only a leader
// knows; any other says yes. One that hands the lead over before leaves the next to wait until old leases have ended.
func (l *Lessor) Settled() bool {
	term, leading := l.cfg.Terms.Term()
	if !leading {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.cfg.Views.Current()
	if v == nil || !l.enter(term) {
		return true
	}
	for _, m := range v.Roster {
		if t := l.tenant[tenant{m.Name, m.Boot}]; m.Standing == ring.Steady && t.level < v.Epoch && !(t.holds && l.ended(t)) {
			return false
		}
	}
	return true
}

// Ready returns the partitions of the present view whose next home has all there is of them, as their homes said.
func (l *Lessor) Ready() (ready []uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.cfg.Views.Current()
	if v == nil {
		return nil
	}
	for k, t := range l.tenant {
		if t.epoch == v.Epoch && v.names(k) {
			ready = append(ready, t.ready...)
		}
	}
	return ready
}

// Spread brings a view to all that are seen and notes who goes by it, so that those it names need not wait until the
// others have heard of it.
func (l *Lessor) Spread(ctx context.Context, v *View) {
	term, _ := l.cfg.Terms.Term()
	ctx, cancel := context.WithTimeout(ctx, confirmWait)
	defer cancel()
	var all sync.WaitGroup
	encoded := v.Encode()
	for _, m := range l.cfg.Gossip.Alive() {
		all.Go(func() {
			epoch := v.Epoch
			if m.Name != l.cfg.Name {
				var err error
				if epoch, err = l.cfg.Peers.Peer(m.Peer).Adopt(ctx, encoded); err != nil {
					return // it hears of it by gossip
				}
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			t, known := l.tenant[tenant{m.Name, m.Boot}]
			if known && l.enter(term) {
				if epoch > t.epoch {
					t.epoch, t.ready = epoch, nil
				}
				l.tenant[tenant{m.Name, m.Boot}] = t
				l.rise(v)
			}
		})
	}
	all.Wait()
}

// Confirm says whether this node is the voter of the server id and in the term.
func (l *Lessor) Confirm(term uint64, server string) bool {
	now, _ := l.cfg.Terms.Term()
	return now == term && l.cfg.Server == server
}

// round is one question to the voters, which all renewals share that arrived before it began.
type round struct {
	done chan struct{}
	err  error
}

// confirm waits for a round that begins from now on. One of those who wait for it holds it for all.
func (l *Lessor) confirm(ctx context.Context, term uint64) error {
	l.mu.Lock()
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	r := l.next
	l.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("%w: the voters: %w", ErrUnreachable, ctx.Err())
	}
	defer func() { <-l.turn }()
	l.mu.Lock()
	mine := l.next == r
	l.mu.Unlock()
	if !mine {
		return r.err // who had the turn before has closed it
	}
	if !wait(ctx, l.cfg.Gather) {
		return fmt.Errorf("%w: the voters: %w", ErrUnreachable, ctx.Err()) // who waits for the same round takes the turn
	}
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	r.err = l.poll(term)
	close(r.done)
	return r.err
}

// poll asks every voter whether it is still in the term; a majority must be.
func (l *Lessor) poll(term uint64) error {
	servers, err := l.cfg.Terms.Servers()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmWait)
	defer cancel()
	answers := make(chan bool, len(servers))
	for name, server := range servers {
		if name == l.cfg.Name {
			answers <- server == l.cfg.Server
			continue
		}
		go func() { answers <- l.asks(ctx, name, server, term) }()
	}
	for yes, all := 0, len(servers); all > 0; all-- {
		if <-answers {
			yes++
		}
		if 2*yes > len(servers) {
			return nil
		}
	}
	return fmt.Errorf("%w: no majority of the %d voters is in term %d", ErrUnreachable, len(servers), term)
}

func (l *Lessor) asks(ctx context.Context, name, server string, term uint64) bool {
	m, ok := l.cfg.Gossip.Find(name)
	address := m.Peer
	if v := l.cfg.Views.Current(); !ok && v != nil {
		if i := v.Find(name); i >= 0 {
			address = v.Roster[i].Peer
		}
	}
	if address == "" {
		return false
	}
	same, err := l.cfg.Peers.Peer(address).Confirm(ctx, term, server)
	return err == nil && same
}
