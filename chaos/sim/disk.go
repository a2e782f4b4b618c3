package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/weir-cluster/weir/ledger/group"
)

// disk is a node's storage in memory: a group.Storage that knows what is synced and what is not, and whose faults
// can be set while it is used. It survives the crash of its node, and is replaced when a disk is lost. The log and
// votes of a write are durable when the write returns, as those of raftboltdb are, unless the disk lies.
type disk struct {
	fatal func(why string) // ends the node's process, as a write that no Raft survives does

	mu      sync.Mutex // guards all below and every image; never held while anything waits
	random  *rand.Rand
	name    string // of this disk: another one after a loss
	lost    int    // disks lost so far
	image   *image
	open    bool
	broken  error         // what writes return; nil: they work
	stalled chan struct{} // closed when the stall ends; nil: none
	syncMin time.Duration // of one write; drawn evenly up to syncMax
	syncMax time.Duration
	writing *write // the log write that waits for its sync; nil: none
	tears   bool   // the next log write is cut short, and the process ends in it
	lies    bool   // writes return before they are synced
	synced  *image // what a crash leaves of a disk that lies; nil: everything
	seen    diskStats
}

// diskStats counts what a disk did, since it was made. They prove that a fault bit.
type diskStats struct {
	Refused uint64 // writes that returned an error
	Stalled uint64 // writes that waited for the end of a stall
	Slowed  uint64 // writes that took longer than a good disk's
	Unsure  uint64 // entries that were acknowledged and not synced
	Torn    uint64 // log writes that a crash met before their sync, or that were cut short
	Lost    uint64 // entries that a crash or a loss took
	Taken   uint64 // snapshots written
}

// write is a log write on its way.
type write struct {
	apply func(to *image, entries int) // the first entries of it
	count int
}

// What a good disk needs for a sync.
const (
	syncQuick = 200 * time.Microsecond
	syncUsual = time.Millisecond
)

var _ group.Storage = (*disk)(nil)

func newDisk(name string, random *rand.Rand, fatal func(why string)) *disk {
	return &disk{fatal: fatal, random: random, name: name, image: newImage(), syncMin: syncQuick, syncMax: syncUsual}
}

// Open is group.Storage's.
func (d *disk) Open() (group.Stores, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return group.Stores{}, fmt.Errorf("open disk %s: %w", d.name, group.ErrInUse)
	}
	d.open = true
	h := &handle{d: d, image: d.image}
	return group.Stores{Log: h, Stable: h, Snapshots: snapshots{h}, ID: fmt.Sprintf("%s-%d", d.name, d.lost), Close: h.close}, nil
}

// crash ends the process that has the disk open: what it does from then on reaches nobody. The write on its way is
// there, or not, or the first part of it is.
func (d *disk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.image.clone()
	if w := d.writing; w != nil {
		d.seen.Torn++
		w.apply(next, d.random.IntN(w.count+1))
	}
	if d.lies && d.synced != nil {
		d.seen.Lost += uint64(max(0, len(next.logs)-len(d.synced.logs)))
		d.tearKept(d.synced, next.kept)
		next = d.synced
	}
	d.turn(next)
}

// lose replaces the disk by an empty one.
func (d *disk) lose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen.Lost += uint64(len(d.image.logs) + len(d.image.words) + len(d.image.numbers))
	d.lost++
	d.turn(newImage())
}

// turn leaves the image that is open to whoever had it open.
func (d *disk) turn(next *image) {
	d.image.orphan = true
	d.image, d.open, d.writing, d.synced = next, false, nil, nil
	d.endStall()
}

// fail has writes return err until repair.
func (d *disk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// stall has writes wait until repair.
func (d *disk) stall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stalled == nil {
		d.stalled = make(chan struct{})
	}
}

// tear has the next log write end its process before all of it is on the disk.
func (d *disk) tear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tears = true
}

// slow has each write take this long.
func (d *disk) slow(shortest, longest time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncMin, d.syncMax = shortest, longest
}

// lie has writes return before they are synced: a crash takes all that was written since.
func (d *disk) lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies, d.synced = true, d.image.clone()
}

// repair makes the disk a good one again. What was not synced is.
func (d *disk) repair() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.syncMin, d.syncMax, d.tears, d.lies, d.synced = nil, syncQuick, syncUsual, false, false, nil
	d.endStall()
}

func (d *disk) endStall() {
	if d.stalled != nil {
		close(d.stalled)
		d.stalled = nil
	}
}

func (d *disk) stats() diskStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// full is what a write to a full disk returns.
func full() error { return &writeError{syscall.ENOSPC} }

// bad is what a write to a broken disk returns.
func bad() error { return &writeError{syscall.EIO} }

// writeError is a write that the disk refused.
type writeError struct{ number syscall.Errno }

// Error says which.
func (e *writeError) Error() string { return "write: " + e.number.Error() }

// Unwrap returns the number.
func (e *writeError) Unwrap() error { return e.number }

// log returns the indexes of the first and the last entry on the disk, and a copy of an entry by its index.
func (d *disk) log() (low, top uint64, at func(index uint64) (term uint64, data []byte)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	image := d.image
	return image.low, image.top, func(index uint64) (uint64, []byte) {
		d.mu.Lock()
		defer d.mu.Unlock()
		l := image.logs[index]
		if l == nil {
			return 0, nil
		}
		return l.Term, l.Data
	}
}
