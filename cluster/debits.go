package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// Debits is what this node took as deputy for homes that it could not reach. It tells the homes when it can, each debit once,
// and keeps it in this node's copy until what the home ships has it; what it became home of itself it has counted already. It
// is safe for concurrent use.
type Debits struct {
	cfg    DebitsConfig
	stores [2]*limiter.Store // each partition has one that is told of and one that debits are charged to
	last   atomic.Uint64     // how many reports there were
	kick   chan struct{}     // capacity 1: there is something to tell
	ways   [debitStripes]debitStripe
}

// DebitsConfig is what Debits needs.
type DebitsConfig struct {
	Name, Boot string // of this node
	Source     uint64 // random: reports of different processes must differ
	Now        func() time.Time
	Copies     *limiter.Store // that a deputy decides by
	BucketsMax int64          // of debits, twice
	Views      *Views
	Peers      Peers
	// Begun and Copied are those of the node's Copies.
	Begun  func(p uint16, since uint64) bool
	Copied func(p uint16) bool
	Logger *slog.Logger
}

// debitStripe is what a part of the partitions owe. Its lock is held, too, while their copies change together with it.
type debitStripe struct {
	mu    sync.Mutex
	debts map[uint16]*debt
}

// debt is what was taken of a partition that the copy must not lose.
type debt struct {
	open   int       // index of the store that is charged
	fresh  bool      // something is in it
	report uint64    // names what the other store has; zero: nothing
	told   uint64    // the tenure whose home knows of the report; zero: none
	since  time.Time // when it said so
}

// Report is a piece of what a home must be told of: what a deputy took for it, or what a disk kept of the tenure before, for a home
// that began without any copy. Its parts are merged once each.
type Report struct {
	Partition uint16
	Epoch     uint64 // of the sender's view
	Source    uint64 // names the report
	Last      bool   // no part follows
	Debits    []byte // a chunk of buckets

	Kept    uint64        // the tenure that a disk kept it of; zero: it is what a deputy took
	Records []byte        // a chunk of those, beside buckets that a disk kept
	Age     time.Duration // of Records
}

const (
	reportEvery = 250 * time.Millisecond // while there is something to tell
	reportWait  = time.Second            // bounds one report
	reportBytes = 256 << 10
	// tellersMax bounds how many homes are told at once, and tellMost what each is told in a turn: the others wait for theirs.
	tellersMax = 8
	tellMost   = 128
	// settleDebits is how long what a home said that it knows is waited for in what it ships, where a parcel takes 50 ms. Past
	// that it counts as shipped: a report must not hold up the next one, and the home has stopped naming it by 16 reports.
	settleDebits = 5 * time.Second
	debitStripes = 64
)

// NewDebits returns Debits without any.
func NewDebits(c DebitsConfig) *Debits {
	d := &Debits{cfg: c, kick: make(chan struct{}, 1)}
	for i := range d.stores {
		d.stores[i] = limiter.NewStore(limiter.Config{BucketsMax: c.BucketsMax})
	}
	for i := range d.ways {
		d.ways[i].debts = make(map[uint16]*debt)
	}
	return d
}

func (d *Debits) stripe(p uint16) *debitStripe { return &d.ways[p%debitStripes] }

// Take takes from this node's copy of a partition, as limiter.Store.Take does, and notes for the home what it took.
func (d *Debits) Take(p uint16, now int64, takes []limiter.Take) limiter.Outcome {
	w := d.stripe(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	outcome, _ := d.cfg.Copies.Take(p, now, takes)
	if outcome != limiter.Taken {
		return outcome
	}
	o := w.debts[p]
	if o == nil {
		o = &debt{}
		w.debts[p] = o
	}
	d.stores[o.open].Charge(p, now, slices.Clone(takes))
	o.fresh = true
	select {
	case d.kick <- struct{}{}:
	default:
	}
	return outcome
}

// Beside runs restore, which puts what a home shipped in the place of this node's copy, and gives it the debits that must be
// added: those that are not in merged, the reports that the home knew of. Nothing is taken from the copy meanwhile.
func (d *Debits) Beside(p uint16, merged []uint64, restore func(owed [][]byte) error) error {
	w := d.stripe(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.debts[p]
	if o == nil {
		return restore(nil)
	}
	if o.report > 0 && slices.Contains(merged, o.report) {
		d.close(p, o)
	}
	var owed [][]byte
	for i, has := range [...]bool{o.fresh, o.report > 0} {
		for from, done := (limiter.Cursor{Sequence: 1}), !has; !done; {
			var chunk []byte
			chunk, from, done = d.stores[o.open^i].Export(p, d.cfg.Now().UnixNano(), from, reportBytes)
			owed = append(owed, chunk)
		}
	}
	return restore(owed)
}

// close forgets what was reported of a partition.
func (d *Debits) close(p uint16, o *debt) {
	d.stores[o.open^1].Drop(p)
	o.report, o.told = 0, 0
}

// Run tells until ctx ends.
func (d *Debits) Run(ctx context.Context) error {
	for {
		select {
		case <-d.kick:
		case <-ctx.Done():
			return nil
		}
		for d.round(ctx) {
			if !wait(ctx, reportEvery) {
				return nil
			}
		}
	}
}

// round tells each home of something, several at once, and says whether there is more to do.
func (d *Debits) round(ctx context.Context) (more bool) {
	homes := make(map[Member][]telling)
	for _, p := range d.owing() {
		left, home, t := d.due(p)
		more = more || left
		if t.Source > 0 {
			homes[home] = append(homes[home], t)
		}
	}
	var tellers sync.WaitGroup
	places := make(chan struct{}, tellersMax)
	for home, all := range homes {
		places <- struct{}{}
		tellers.Go(func() {
			defer func() { <-places }()
			for _, t := range all[:min(len(all), tellMost)] {
				if err := d.tell(ctx, home, t); err != nil {
					d.cfg.Logger.Debug("tell the home what was taken for it", "home", home.Name, "error", err)
					return
				}
			}
		})
	}
	tellers.Wait()
	return more
}

// owing returns the partitions with debts, in no order: so no home's come first in each round.
func (d *Debits) owing() (all []uint16) {
	for i := range d.ways {
		w := &d.ways[i]
		w.mu.Lock()
		all = slices.AppendSeq(all, maps.Keys(w.debts))
		w.mu.Unlock()
	}
	return all
}

// telling is a report that is to be told to the home of a tenure.
type telling struct {
	Report
	tenure uint64
}

// due goes on with the debt of a partition: it says whether there is any left, and what its home is to be told, if there is.
func (d *Debits) due(p uint16) (left bool, home Member, t telling) {
	v := d.cfg.Views.Current()
	home, some := v.Home(p)
	since := v.Table.Since[p]
	self := some && home.Name == d.cfg.Name && home.Boot == d.cfg.Boot
	begun, copied := self && d.cfg.Begun(p, since), d.cfg.Copied(p)
	w := d.stripe(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.debts[p]
	switch {
	case begun: // with a copy that has them
		d.close(p, o)
		d.stores[o.open].Drop(p)
		o.fresh = false
	case o.report > 0 && o.told == since && (!copied || d.cfg.Now().Sub(o.since) > settleDebits):
		d.close(p, o)
	}
	if o.report == 0 && o.fresh {
		o.open, o.fresh, o.report = o.open^1, false, d.cfg.Source+d.last.Add(1)
	}
	if o.report == 0 {
		delete(w.debts, p)
		return false, home, t
	}
	if some && !self && o.told != since {
		t = telling{Report{Partition: p, Epoch: v.Epoch, Source: o.report}, since}
	}
	return true, home, t
}

// tell tells a home of all parts of a report, unless it has come by itself meanwhile.
func (d *Debits) tell(ctx context.Context, home Member, t telling) error {
	for from := (limiter.Cursor{Sequence: 1}); !t.Last; {
		if from, t.Last = d.part(&t.Report, from); t.Debits == nil {
			return nil
		}
		if err := d.send(ctx, home, t.Report); err != nil {
			return err
		}
	}
	w := d.stripe(t.Partition)
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.debts[t.Partition]; o != nil && o.report == t.Source {
		o.told, o.since = t.tenure, d.cfg.Now()
	}
	return nil
}

// part sets the next part of a report, nothing if it is no more to be told.
func (d *Debits) part(r *Report, from limiter.Cursor) (next limiter.Cursor, last bool) {
	w := d.stripe(r.Partition)
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.debts[r.Partition]
	if r.Debits = nil; o == nil || o.report != r.Source {
		return from, true
	}
	r.Debits, next, last = d.stores[o.open^1].Export(r.Partition, d.cfg.Now().UnixNano(), from, reportBytes)
	return next, last
}

func (d *Debits) send(ctx context.Context, home Member, r Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	if err := d.cfg.Peers.Peer(home.Peer).Report(ctx, r); err != nil {
		return fmt.Errorf("partition %d: %w", r.Partition, err)
	}
	return nil
}
