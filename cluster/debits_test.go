package cluster

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// creditor is a home that debits are told to.
type creditor struct {
	mu      sync.Mutex
	store   *limiter.Store
	down    bool // it is out of reach
	mute    int  // so many answers are lost
	reports int
}

func (c *creditor) Peer(string) Peer { return creditorPeer{creditor: c} }

type creditorPeer struct {
	Peer
	*creditor
}

func (c creditorPeer) Report(_ context.Context, r Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return ErrUnreachable
	}
	c.reports++
	if err := c.store.Merge(r.Partition, time.Now().UnixNano(), r.Source, r.Debits); err != nil {
		return err
	}
	if c.mute > 0 {
		c.mute--
		return ErrUnreachable
	}
	return nil
}

// left returns how much of a limit of 100 a partition's only bucket has left.
func (c *creditor) left(p uint16) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	takes := taken(0)
	c.store.Peek(p, time.Now().UnixNano(), takes)
	return takes[0].Remaining
}

func taken(cost int64) []limiter.Take {
	limit := &limiter.Limit{Algorithm: limiter.FixedWindow, Count: 100, Period: 24 * time.Hour}
	return []limiter.Take{{Key: limiter.Key{Hi: 1, Lo: 2}, Limit: limit, Cost: cost}}
}

func TestAHomeHearsOnceOfWhatItsDeputyTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		views := NewViews(nil)
		if _, err := views.Learn(owned(nil, "a", "b", "")); err != nil {
			t.Fatal(err)
		}
		home := &creditor{store: limiter.NewStore(limiter.DefaultConfig()), down: true}
		d := NewDebits(DebitsConfig{
			Name: "b", Boot: "1", Source: 1 << 40, Now: time.Now, BucketsMax: 1 << 20, Views: views, Peers: home, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		charge := func(p uint16, cost int64) { d.Charge(p, time.Now().UnixNano(), taken(cost)) }
		charge(7, 3)
		time.Sleep(time.Second)
		charge(7, 4) // while it tries to tell the first
		charge(8, 1)
		time.Sleep(10 * time.Second)
		home.mu.Lock()
		home.down, home.mute = false, 2
		home.mu.Unlock()
		time.Sleep(5 * time.Second)
		if home.left(7) != 93 || home.left(8) != 99 {
			t.Errorf("%d and %d are left, want 93 and 99", home.left(7), home.left(8))
		}
		charge(7, 2)
		time.Sleep(time.Second)
		if home.left(7) != 91 || home.reports != 6 {
			t.Errorf("%d are left after %d reports, want 91 after 6", home.left(7), home.reports)
		}
		if _, err := views.Learn(owned(views.Current(), "b", "a", "")); err != nil {
			t.Fatal(err)
		}
		charge(7, 50) // for a partition that is its own by now
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if home.left(7) != 91 || d.open.store.Len()+d.told.store.Len() != 0 {
			t.Errorf("%d are left", home.left(7))
		}
	})
}
