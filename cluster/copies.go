package cluster

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// State is what a node keeps for partitions: buckets, reservations, remembered checks. Copies moves it from node to node as
// chunks of absolute values. It must be safe for concurrent use, and do nothing that takes long.
type State interface {
	// Track has the changes of a partition noted from now on, all that is in it first. The sequence names them: of a
	// partition it grows from call to call, and from home to home. Untrack has them noted no more.
	Track(p uint16, sequence uint64)
	Untrack(p uint16)
	// Changed signals, on either channel, that something changed where nothing had.
	Changed() (one, other <-chan struct{})
	// Due appends the partitions that have changes, each once until it changes after they were taken.
	Due(dst []uint16) []uint16
	// Changes returns what changed and was not returned yet, about most bytes of it, and whether there is more.
	Changes(p uint16, most int) (chunk []byte, more bool)
	// Restore takes in a chunk, in the place of what there is of the same things, and adds to those what is owed beside.
	Restore(p uint16, chunk []byte, owed [][]byte) error
	// Merge adds what a deputy took, or another's disk kept, to what there is. Parts of a source come in their order, and count once.
	Merge(p uint16, source uint64, buckets []byte) error
	// Remember takes in records that another's disk kept, of an age: of two of one id the newer stays.
	Remember(p uint16, records []byte, age time.Duration) error
	// Recall takes in what the disk kept of a partition, and says whether it is of the tenure prior, which was directly before the
	// one that begins with the epoch since.
	Recall(p uint16, prior, since uint64) bool
	// Inherit has this node go on with its copy of a partition, Cold without one, as from now.
	Inherit(p uint16)
	Cold(p uint16)
	// Drop forgets a partition.
	Drop(p uint16)
}

// Copies keeps deputies at most a moment behind: it ships what changes in the partitions that this node is home of, and takes
// in what the homes of others ship. It hands a partition over when a view gives it to another node, and says which this node
// has begun to decide for. It is safe for concurrent use.
//
// A tenure is a node's time as home of a partition, and its id is the epoch that it is home since. The state of a tenure
// leaves its node as parcels, numbered from 1. The last one says that the node decides no more: so whoever is home next
// may begin when it has it, without waiting for a lease that covers the new epoch.
type Copies struct {
	cfg   CopiesConfig
	begun [ring.Partitions]atomic.Uint64 // the tenure in which this node decides; zero: none
	kick  chan struct{}                  // capacity 1: there is something to ship at once

	mu    sync.Mutex // guards what follows; State is called under it, peers are not
	held  [ring.Partitions]holding
	view  *View         // that the roles are of
	level uint64        // of the lease
	moved chan struct{} // closed when this node began something, or somebody acknowledged something
	carry []uint16      // partitions to look at again soon
	lanes map[tenant]*lane
	waits int // partitions whose last parcel is waited for
	tally Tally
}

// Tally counts what Copies did since the node started.
type Tally struct {
	Parcels, Bytes    uint64        // that others have received
	Moved             uint64        // of these bytes, what others than deputies have: who is home next
	Again             uint64        // partitions that were sent anew, since something was missing or had no room
	HandedOver        uint64        // partitions
	Inherited, Cold   uint64        // tenures that began with a copy, and without
	Found             uint64        // of those without, that got what a disk had kept
	Behind            time.Duration // for how long now a parcel has been on its way: so far behind is the slowest copy at least
	Leaving, Awaiting int           // partitions that are on their way to others, and to this node
}

// CopiesConfig is what Copies needs.
type CopiesConfig struct {
	Name, Boot string // of this node
	Now        func() time.Time
	State      State
	Peers      Peers
	Debits     *Debits // of this node
	Ready      func()  // called, not blocking, when the next home of a partition has it whole
	Logger     *slog.Logger
}

// role is what a node is to a partition.
type role uint8

const (
	stranger role = iota
	heir          // home by the view, and has not begun
	home
	leaver // it was home, and what it has is on its way to who is
	copier // deputy, or next
)

// holding is what a node knows of its part in a partition.
type holding struct {
	role   role
	tenure uint64    // of the parcels that it sends or gets
	number uint64    // of the newest one
	whole  uint64    // the newest tenure that it has, or once had, whole; zero: what it has is of no use
	last   uint64    // the tenure whose last parcel it has
	acked  uint64    // number of the newest parcel with which the deputy had all there was
	first  bool      // the next parcel is the first of all there is
	sent   bool      // whole, since the first
	former uint64    // the tenure before one that an earlier life of this node was given, and of which its disk may not know
	await  time.Time // until then, the last parcel of the home before may come
	merged []uint64  // names of the latest reports of deputies that it has, the newest last
	cold   bool      // its tenure began without a copy, and none was found since
	found  uint64    // names the report that brings one; zero: none has begun to
}

const (
	shipEvery = 50 * time.Millisecond // changes wait so long for others to go with them
	// awaitLast is how long an heir waits for the next parcel of a home that is still there.
	awaitLast = 500 * time.Millisecond
	// replicaWait bounds how long a check waits until the deputy has it.
	replicaWait = 50 * time.Millisecond
	chunkBytes  = 64 << 10
	// mergedMax bounds the reports that are named. A deputy that made one before counts it twice in its copy, until its debits
	// are earned; one makes the next only when the last is known.
	mergedMax = 16
)

// NewCopies returns a Copies that has nothing.
func NewCopies(c CopiesConfig) *Copies {
	return &Copies{cfg: c, kick: make(chan struct{}, 1), moved: make(chan struct{}), lanes: make(map[tenant]*lane)}
}

// Begun says whether this node has begun the tenure of a partition, and not ended it.
func (c *Copies) Begun(p uint16, since uint64) bool {
	return since > 0 && c.begun[p].Load() == since
}

// Awaits says whether this node is to be home of a partition, and the home before has something to say yet.
func (c *Copies) Awaits(p uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.held[p]
	return h.role == heir && c.cfg.Now().Before(h.await)
}

// Moved is closed when something began or was acknowledged after this call.
func (c *Copies) Moved() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved
}

// Adopt gives this node its roles by a view, before it comes into force. What it is no longer home of, it decides no more when
// this returns.
func (c *Copies) Adopt(next *View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	previous := c.view
	c.view, c.waits = next, 0
	for i := range ring.Partitions {
		p := uint16(i)
		c.assume(previous, p)
		if c.held[p].role == heir {
			c.waits++
		}
	}
	c.stir()
}

// assume takes on the role that the view gives this node in a partition.
func (c *Copies) assume(previous *View, p uint16) {
	h, is := &c.held[p], c.roleIn(p)
	since := c.view.Table.Since[p]
	switch {
	case is == home && h.role == home && h.tenure == since:
		if previous == nil || !sameTargets(previous, c.view, p) {
			c.restart(p)
		}
	case h.role == home && c.begun[p].Load() > 0:
		c.begun[p].Store(0)
		if is == home { // it lost its place and has it back: what was between, it did not hear of
			c.cfg.State.Untrack(p)
			h.role = heir
			break
		}
		h.role = leaver
		if m, _ := c.view.Home(p); c.lanes[tenantOf(m)] == nil || c.lanes[tenantOf(m)].whole[p] != h.tenure {
			c.restart(p)
		}
		c.carry = append(c.carry, p)
	case is == home:
		h.role, h.await, h.former = heir, time.Time{}, c.formerOf(previous, p)
		if previous != nil && previous.Table.Since[p] == c.view.Table.Priors[p] && c.present(previous.Home(p)) {
			h.await = c.cfg.Now().Add(awaitLast)
		}
		c.enter(p)
	case h.role == leaver:
	case is == stranger:
		c.forget(p)
	default:
		h.role = is
	}
}

// formerOf returns the tenure before the one that precedes the present one, if that was of this very storage: an earlier process
// may have ended before it heard that it was home, and then what its disk has is of the tenure before.
func (c *Copies) formerOf(previous *View, p uint16) uint64 {
	if previous == nil || previous.Table.Since[p] != c.view.Table.Priors[p] {
		return 0
	}
	was, some := previous.Home(p)
	now, _ := c.view.Home(p)
	if !some || was.Name != now.Name || was.Server != now.Server || was.Boot == now.Boot {
		return 0
	}
	return previous.Table.Priors[p]
}

// present says whether another process that was home has something to say yet: by the present view it is a member, or leaves.
func (c *Copies) present(m Member, ok bool) bool {
	i := c.view.Find(m.Name)
	if !ok || i < 0 || m.Name == c.cfg.Name {
		return false
	}
	now := c.view.Roster[i]
	return now.Boot == m.Boot && (now.Standing != ring.Absent || now.Leaving)
}

// roleIn is what the view makes this node: home, copier or stranger.
func (c *Copies) roleIn(p uint16) role {
	if m, ok := c.view.Home(p); ok && c.self(m) {
		return home
	}
	for _, of := range [...]func(uint16) (Member, bool){c.view.Deputy, c.view.Next} {
		if m, ok := of(p); ok && c.self(m) {
			return copier
		}
	}
	return stranger
}

func (c *Copies) self(m Member) bool { return m.Name == c.cfg.Name && m.Boot == c.cfg.Boot }

// sameTargets says whether whoever a home ships to by b it ships to by a already.
func sameTargets(a, b *View, p uint16) bool {
	var had [2]tenant
	for i, of := range [...]func(uint16) (Member, bool){a.Deputy, a.Next} {
		if m, some := of(p); some {
			had[i] = tenantOf(m)
		}
	}
	for _, of := range [...]func(uint16) (Member, bool){b.Deputy, b.Next} {
		if m, some := of(p); some && !slices.Contains(had[:], tenantOf(m)) {
			return false
		}
	}
	return true
}

func tenantOf(m Member) tenant { return tenant{m.Name, m.Boot} }

// Reached has this node begin what its lease covers, of a level.
func (c *Copies) Reached(level uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if level <= c.level && c.waits == 0 {
		return
	}
	c.level = max(level, c.level)
	c.enterAll()
	c.stir()
}

// enterAll begins what can begin. What waits for a last parcel is looked at again.
func (c *Copies) enterAll() {
	c.waits = 0
	for i := range ring.Partitions {
		if c.held[i].role == heir {
			c.enter(uint16(i))
		}
		if c.held[i].role == heir {
			c.waits++
		}
	}
}

// enter begins a tenure if nobody else can be home any more: the home before said so, or every lease is of the new view
// or over. Then it waits a moment for what a home that is still there has to say.
func (c *Copies) enter(p uint16) {
	h := &c.held[p]
	h.cold, h.found = false, 0
	since, prior := c.view.Table.Since[p], c.view.Table.Priors[p]
	told := prior > 0 && h.last == prior
	if !told && (since > c.level || c.cfg.Now().Before(h.await)) {
		return
	}
	switch {
	case prior == 0: // nobody decided for it before
	case h.whole > 0 || c.cfg.State.Recall(p, prior, since) || h.former > 0 && c.cfg.State.Recall(p, h.former, since):
		c.cfg.State.Inherit(p)
		c.tally.Inherited++
	default:
		c.cfg.State.Cold(p)
		c.tally.Cold++
		h.merged, h.cold = nil, true
	}
	h.role, h.tenure, h.number, h.whole, h.acked, h.last = home, since, 0, since, 0, 0
	c.restart(p)
	c.begun[p].Store(since)
	c.tell()
}

// tell wakes who waits for something to begin, or to be acknowledged.
func (c *Copies) tell() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// restart ships all there is in a partition to whoever should have it.
func (c *Copies) restart(p uint16) {
	h := &c.held[p]
	_, deputy := c.view.Deputy(p)
	_, next := c.view.Next(p)
	h.first, h.sent = true, false
	if !deputy && !next && h.role != leaver {
		c.cfg.State.Untrack(p)
		return
	}
	c.cfg.State.Track(p, h.tenure<<32|(h.number+1))
	c.carry = append(c.carry, p) // what is empty must be said to be
}

// forget drops what a node has of a partition that it has no part in.
func (c *Copies) forget(p uint16) {
	c.cfg.State.Untrack(p)
	if h := &c.held[p]; h.role != stranger {
		c.cfg.State.Drop(p)
		*h = holding{}
	}
}

// stir has the shipper look at once.
func (c *Copies) stir() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Replicated waits, briefly, until the deputy has what changed in a partition before the call, and says whether it has. Where
// the view names no deputy there is nothing to wait for.
func (c *Copies) Replicated(ctx context.Context, p uint16) bool {
	ctx, cancel := context.WithTimeout(ctx, replicaWait)
	defer cancel()
	c.mu.Lock()
	h := &c.held[p]
	tenure, number := h.tenure, h.number+1
	_, deputy := c.view.Deputy(p)
	if h.role != home || !deputy {
		c.mu.Unlock()
		return h.role == home
	}
	c.carry = append(c.carry, p)
	c.stir()
	for h.role == home && h.tenure == tenure && h.acked < number {
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	return h.tenure == tenure && h.acked >= number
}

// Kept returns the tenure of which this node has a partition whole, zero if it has not, and whether it is, or was, the home in it.
// Of a tenure that it has not begun, it has what it would begin with: nobody else decides in it.
func (c *Copies) Kept(p uint16) (tenure uint64, own bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch h := &c.held[p]; h.role {
	case stranger:
		return 0, false
	case home, leaver:
		return h.tenure, true
	case heir:
		if h.whole == 0 {
			return 0, false
		}
		return c.view.Table.Since[p], true
	default:
		return h.whole, false
	}
}

// HandedOver says whether nothing that this node was home of is on its way to others.
func (c *Copies) HandedOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.held {
		if c.held[i].role == leaver {
			return false
		}
	}
	return true
}

// Tally returns the counts.
func (c *Copies) Tally() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	now := c.cfg.Now()
	for _, l := range c.lanes {
		if len(l.queue) > 0 {
			t.Behind = max(t.Behind, now.Sub(l.since))
		}
	}
	for i := range c.held {
		switch c.held[i].role {
		case leaver:
			t.Leaving++
		case heir:
			t.Awaiting++
		}
	}
	return t
}

// Copied says whether this node has a copy of a partition, and is no more than that: the rest is a matter of the view.
func (c *Copies) Copied(p uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.held[p]
	return h.role == copier && h.whole > 0
}

// Whole returns, of the partitions that move away from this node by the view of an epoch, those that their next home has.
func (c *Copies) Whole(epoch uint64) []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var whole []uint16
	if c.view == nil || c.view.Epoch != epoch {
		return nil
	}
	for i := range c.held {
		p := uint16(i)
		next, some := c.view.Next(p)
		if h := &c.held[p]; some && h.role == home {
			if l := c.lanes[tenantOf(next)]; l != nil && l.whole[p] == h.tenure {
				whole = append(whole, p)
			}
		}
	}
	return whole
}
