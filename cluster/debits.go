package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weir-cluster/weir/limiter"
	"github.com/weir-cluster/weir/ring"
)

// Debits is what this node took as deputy for homes that it could not reach. It tells the homes when it can, each debit once;
// what it became home of itself it has counted already. It is safe for concurrent use.
type Debits struct {
	cfg DebitsConfig

	mu   sync.RWMutex // what is charged must be whole in one book
	open *debitBook   // that debits are charged to
	told *debitBook   // that homes are told of
	kick chan struct{}
}

// DebitsConfig is what Debits needs.
type DebitsConfig struct {
	Name, Boot string // of this node
	Source     uint64 // random: reports of different processes must differ
	Now        func() time.Time
	BucketsMax int64
	Views      *Views
	Peers      Peers
	Logger     *slog.Logger
}

// debitBook has debits that are told together.
type debitBook struct {
	store *limiter.Store
	mu    sync.Mutex
	of    map[uint16]bool // partitions with debits
}

// Report is a piece of what a deputy took for a home. Its parts are merged once each.
type Report struct {
	Partition uint16
	Epoch     uint64 // of the sender's view
	Source    uint64 // names the report
	Debits    []byte
}

const (
	reportEvery = 250 * time.Millisecond // while there is something to tell
	reportWait  = time.Second            // bounds one report
	reportBytes = 256 << 10
)

// NewDebits returns Debits without any.
func NewDebits(c DebitsConfig) *Debits {
	d := &Debits{cfg: c, kick: make(chan struct{}, 1)}
	d.open, d.told = d.book(), d.book()
	return d
}

func (d *Debits) book() *debitBook {
	return &debitBook{store: limiter.NewStore(limiter.Config{BucketsMax: d.cfg.BucketsMax}), of: make(map[uint16]bool)}
}

// Charge notes what was taken from a copy.
func (d *Debits) Charge(partition uint16, now int64, takes []limiter.Take) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.open.store.Charge(partition, now, takes)
	d.open.mu.Lock()
	d.open.of[partition] = true
	d.open.mu.Unlock()
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Run tells until ctx ends.
func (d *Debits) Run(ctx context.Context) error {
	for n := uint64(1); ; n++ {
		select {
		case <-d.kick:
		case <-ctx.Done():
			return nil
		}
		d.mu.Lock()
		d.open, d.told = d.told, d.open
		d.mu.Unlock()
		for p := range d.told.of {
			for !d.tell(ctx, p, d.cfg.Source+n*ring.Partitions+uint64(p)) {
				if !wait(ctx, reportEvery) {
					return nil
				}
			}
			d.told.store.Drop(p)
		}
		clear(d.told.of)
	}
}

// tell tells the home of a partition, and says whether it knows now.
func (d *Debits) tell(ctx context.Context, p uint16, source uint64) bool {
	v := d.cfg.Views.Current()
	home, ok := v.Home(p)
	if ok && home.Name == d.cfg.Name && home.Boot == d.cfg.Boot {
		return true
	}
	for from, done := (limiter.Cursor{Sequence: 1}), false; ok && !done; {
		var debits []byte
		debits, from, done = d.told.store.Export(p, d.cfg.Now().UnixNano(), from, reportBytes)
		if err := d.send(ctx, home, Report{Partition: p, Epoch: v.Epoch, Source: source, Debits: debits}); err != nil {
			d.cfg.Logger.Debug("tell the home what was taken for it", "home", home.Name, "error", err)
			return false
		}
	}
	return ok
}

func (d *Debits) send(ctx context.Context, home Member, r Report) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	if err := d.cfg.Peers.Peer(home.Peer).Report(ctx, r); err != nil {
		return fmt.Errorf("partition %d: %w", r.Partition, err)
	}
	return nil
}
