package cluster

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Parcel is a piece of the state of a partition: see Copies.
type Parcel struct {
	Partition uint16
	Tenure    uint64 // of the sender
	Number    uint64 // within the tenure, from 1
	First     bool   // all there is follows from here on
	Whole     bool   // with it, all there is was sent
	Last      bool   // the sender decides no more in this tenure
	State     []byte // empty: nothing changed
	// Merged names reports of deputies that are in what there is by now: a deputy adds no more to this state what it told by one.
	Merged []uint64

	even bool // with it, all that had changed when it was cut is on its way
}

// Shipment is what a node sends another at once.
type Shipment struct {
	Name, Boot string // of the sender
	Epoch      uint64 // of its view
	Parcels    []Parcel
}

// Receipt says what a shipment did not bring.
type Receipt struct {
	Again   []uint16 // partitions of which earlier parcels are missing
	Refused []uint16 // partitions that the receiver has no part in, or no room for
}

const (
	laneBytes     = 2 << 20 // on the way to one node; what is more is sent anew when there is room
	shipmentBytes = 1 << 20
	shipWait      = time.Second // bounds a shipment
	shipAgainMin  = 50 * time.Millisecond
	shipAgainMax  = time.Second
	refusedWait   = 500 * time.Millisecond // until what was refused is offered again
	parcelBytes   = 64                     // of a parcel beside its state, about
	cutMost       = 4 << 20                // bytes that are cut at once
	// behindMost is how long a deputy may acknowledge nothing that is on its way to it.
	behindMost = time.Second
)

// lane is the way to one other process. Its queue and what it says of it are guarded by the mutex of Copies.
type lane struct {
	to      tenant
	address string
	queue   []Parcel
	bytes   int
	since   time.Time           // when the first of the queue came, or those before it were received
	whole   map[uint16]uint64   // the tenure of which it has all there is
	missed  map[uint16]struct{} // partitions that it must be sent anew
	offer   time.Time           // from when on they are
	ready   chan struct{}       // capacity 1: there is something in the queue
	end     context.CancelFunc
}

// Run ships until ctx ends.
func (c *Copies) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	due := time.NewTimer(0)
	defer due.Stop()
	waits := true
	one, other := c.cfg.State.Changed()
	for {
		changed := false
		select {
		case <-one:
			changed = true
		case <-other:
			changed = true
		case <-c.kick:
		case <-due.C:
		case <-ctx.Done():
			return nil
		}
		if changed && waits {
			continue
		}
		if waits = changed || c.cut(ctx, &lanes); waits {
			due.Reset(shipEvery)
		} else {
			due.Stop()
		}
	}
}

// cut makes parcels of what changed, and says whether it must look again soon.
func (c *Copies) cut(ctx context.Context, lanes *sync.WaitGroup) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil {
		return false
	}
	c.openLanes(ctx, lanes)
	due := c.cfg.State.Due(c.carry)
	c.carry = nil
	slices.Sort(due)
	left := cutMost
	for _, p := range slices.Compact(due) {
		if left <= 0 {
			c.carry = append(c.carry, p)
			continue
		}
		left -= c.cutPartition(p)
	}
	if c.waits > 0 {
		c.enterAll()
	}
	for _, l := range c.lanes {
		if len(l.queue) > 0 {
			l.wake()
		}
	}
	return len(c.carry) > 0 || c.waits > 0
}

// openLanes has a lane to each other process that the view names, and no other.
func (c *Copies) openLanes(ctx context.Context, lanes *sync.WaitGroup) {
	seen := make(map[tenant]bool, len(c.view.Roster))
	for _, m := range c.view.Roster {
		to := tenantOf(m)
		seen[to] = true
		if c.self(m) || c.lanes[to] != nil {
			continue
		}
		l := &lane{to: to, address: m.Peer, whole: make(map[uint16]uint64), missed: make(map[uint16]struct{}), ready: make(chan struct{}, 1)}
		var laneCtx context.Context
		laneCtx, l.end = context.WithCancel(ctx)
		c.lanes[to] = l
		lanes.Go(func() { c.drive(laneCtx, l) })
	}
	for to, l := range c.lanes {
		if !seen[to] {
			l.end()
			delete(c.lanes, to)
		}
	}
}

// cutPartition makes parcels of what changed in a partition, for each who should have it, and returns their size.
func (c *Copies) cutPartition(p uint16) (size int) {
	h := &c.held[p]
	to := c.targets(p)
	if h.role != home && h.role != leaver || len(to) == 0 {
		c.cfg.State.Untrack(p)
		if h.role == leaver { // there is nobody to have it
			c.leave(p)
		}
		return 0
	}
	for more := true; more && size < shipmentBytes; {
		h.number++
		a := Parcel{Partition: p, Tenure: h.tenure, Number: h.number, First: h.first, Merged: h.merged}
		a.State, more = c.cfg.State.Changes(p, chunkBytes)
		a.Whole = !h.sent && !more
		a.Last, a.even = h.role == leaver && !more, !more
		h.first, h.sent = false, h.sent || !more
		size += len(a.State) + parcelBytes
		for _, l := range to {
			l.add(a, c.cfg.Now())
		}
		if more && size >= shipmentBytes {
			c.carry = append(c.carry, p)
		}
	}
	return size
}

// targets are the lanes to who should have the state of a partition.
func (c *Copies) targets(p uint16) (to []*lane) {
	for _, of := range [...]func(uint16) (Member, bool){c.view.Home, c.view.Deputy, c.view.Next} {
		m, some := of(p)
		l := c.lanes[tenantOf(m)]
		if !some || l == nil || slices.Contains(to, l) {
			continue
		}
		if h := &c.held[p]; h.role == leaver && len(to) > 0 && l.whole[p] != h.tenure {
			continue // it gets all there is from the new home
		}
		to = append(to, l)
	}
	return to
}

// add queues a parcel, or notes that the lane has no room for it.
func (l *lane) add(a Parcel, now time.Time) {
	size := len(a.State) + parcelBytes
	if len(l.queue) == 0 {
		l.since = now
	}
	if l.bytes+size > laneBytes {
		l.missed[a.Partition] = struct{}{}
		return
	}
	l.queue = append(l.queue, a)
	l.bytes += size
}

func (l *lane) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// drive sends what is in the lane, in its order, each parcel until it is acknowledged.
func (c *Copies) drive(ctx context.Context, l *lane) {
	pause := shipAgainMin
	for {
		s := c.load(l)
		if len(s.Parcels) == 0 {
			if !c.idle(ctx, l) {
				return
			}
			continue
		}
		r, err := c.send(ctx, l, s)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.cfg.Logger.Debug("ship", "to", l.to.name, "error", err)
			wait(ctx, pause)
			pause = min(2*pause, shipAgainMax)
			continue
		}
		pause = shipAgainMin
		c.acknowledge(l, s, r)
	}
}

// idle waits until there may be something to send, and says whether the lane goes on.
func (c *Copies) idle(ctx context.Context, l *lane) bool {
	c.mu.Lock()
	var offer <-chan time.Time
	if len(l.missed) > 0 {
		t := time.NewTimer(l.offer.Sub(c.cfg.Now()))
		defer t.Stop()
		offer = t.C
	}
	c.mu.Unlock()
	select {
	case <-l.ready:
	case <-offer:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.offer(l)
	case <-ctx.Done():
		return false
	}
	return true
}

// offer sends anew what the lane missed, unless it was refused just now.
func (c *Copies) offer(l *lane) {
	if c.cfg.Now().Before(l.offer) {
		return
	}
	for p := range l.missed {
		delete(l.missed, p)
		c.anew(p)
		c.tally.Again++
	}
}

// load returns the shipment that is due.
func (c *Copies) load(l *lane) Shipment {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && size < shipmentBytes {
		size += len(l.queue[n].State) + parcelBytes
		n++
	}
	return Shipment{Name: c.cfg.Name, Boot: c.cfg.Boot, Epoch: c.view.Epoch, Parcels: l.queue[:n:n]}
}

func (c *Copies) send(ctx context.Context, l *lane, s Shipment) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, shipWait)
	defer cancel()
	return c.cfg.Peers.Peer(l.address).Ship(ctx, s)
}

// acknowledge takes what was received out of the lane, and goes by what came of it.
func (c *Copies) acknowledge(l *lane, s Shipment, r Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready := false
	for _, a := range s.Parcels {
		l.bytes -= len(a.State) + parcelBytes
		c.tally.Bytes += uint64(len(a.State))
		if m, some := c.view.Deputy(a.Partition); !some || tenantOf(m) != l.to {
			c.tally.Moved += uint64(len(a.State))
		}
		h := &c.held[a.Partition]
		mine := h.tenure == a.Tenure && (h.role == home || h.role == leaver)
		switch {
		case !mine:
		case slices.Contains(r.Again, a.Partition), slices.Contains(r.Refused, a.Partition):
			delete(l.whole, a.Partition)
			l.missed[a.Partition] = struct{}{}
		default:
			ready = c.received(l, a) || ready
		}
	}
	l.queue, l.since = slices.Clone(l.queue[len(s.Parcels):]), c.cfg.Now()
	c.tally.Parcels += uint64(len(s.Parcels))
	if len(r.Refused) > 0 {
		l.offer = c.cfg.Now().Add(refusedWait)
	}
	c.offer(l)
	c.tell()
	if ready {
		c.cfg.Ready()
	}
}

// received notes that a parcel arrived, and says whether the next home has all now.
func (c *Copies) received(l *lane, a Parcel) (ready bool) {
	h := &c.held[a.Partition]
	if a.Whole {
		l.whole[a.Partition] = a.Tenure
		m, some := c.view.Next(a.Partition)
		ready = some && tenantOf(m) == l.to
	}
	if m, some := c.view.Deputy(a.Partition); some && tenantOf(m) == l.to && a.even && l.whole[a.Partition] == a.Tenure {
		h.acked = a.Number
	}
	if m, some := c.view.Home(a.Partition); a.Last && some && tenantOf(m) == l.to {
		c.tally.HandedOver++
		c.leave(a.Partition)
	}
	return ready
}

// anew ships all there is in a partition once more.
func (c *Copies) anew(p uint16) {
	if h := &c.held[p]; h.role == home || h.role == leaver {
		c.restart(p)
		c.carry = append(c.carry, p)
		c.stir()
	}
}

// leave ends the hand-over of a partition: what is left of it is a copy, if this node should have one.
func (c *Copies) leave(p uint16) {
	h := &c.held[p]
	c.cfg.State.Untrack(p)
	if h.role = c.roleIn(p); h.role == stranger {
		c.cfg.State.Drop(p)
		*h = holding{}
	}
}

// Behind returns the names of deputies of this node that have acknowledged nothing for a second, though something is on its way to
// them.
func (c *Copies) Behind() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := make(map[tenant]bool)
	for to, l := range c.lanes {
		if len(l.queue) > 0 && c.cfg.Now().Sub(l.since) >= behindMost {
			late[to] = true
		}
	}
	for p := 0; p < len(c.held) && len(late) > 0; p++ {
		m, some := c.view.Deputy(uint16(p))
		if to := tenantOf(m); some && late[to] && c.held[p].role == home {
			names = append(names, m.Name)
			delete(late, to)
		}
	}
	slices.Sort(names)
	return names
}
