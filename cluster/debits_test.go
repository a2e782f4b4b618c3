package cluster

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/limiter"
)

// creditor is a home that debits are told to.
type creditor struct {
	store   *limiter.Store
	down    bool // it is out of reach
	hangs   bool // it takes a report for long, and does not answer
	mute    int  // so many answers are lost
	sources map[uint64]int
}

// deputyship is the Debits of b, and its copies. By the first view a is home of all, b deputy.
type deputyship struct {
	t  *testing.T
	mu sync.Mutex // guards what follows
	creditor
	copied, begun bool
	*Debits
	views *Views
	copy  *limiter.Store
}

func (s *deputyship) Peer(string) Peer { return creditorPeer{deputyship: s} }

type creditorPeer struct {
	Peer
	*deputyship
}

func (c creditorPeer) Report(ctx context.Context, r Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hangs && r.Partition == 9 {
		c.mu.Unlock()
		<-ctx.Done()
		c.mu.Lock()
		return ErrUnreachable
	}
	if c.down {
		return ErrUnreachable
	}
	c.sources[r.Source]++
	if err := c.store.Merge(r.Partition, time.Now().UnixNano(), r.Source, r.Debits); err != nil {
		return err
	}
	if c.mute > 0 {
		c.mute--
		return ErrUnreachable
	}
	return nil
}

func asDeputy(t *testing.T, body func(s *deputyship)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		s := &deputyship{t: t, views: NewViews(nil), copy: limiter.NewStore(limiter.DefaultConfig())}
		s.creditor = creditor{store: limiter.NewStore(limiter.DefaultConfig()), sources: map[uint64]int{}}
		s.learn(owned(nil, "a", "b", ""))
		s.Debits = NewDebits(DebitsConfig{
			Name: "b", Boot: "1", Source: 1 << 40, Now: time.Now, Copies: s.copy, BucketsMax: 1 << 20, Views: s.views, Peers: s,
			Begun: func(uint16, uint64) bool { return s.is(&s.begun) }, Copied: func(uint16) bool { return s.is(&s.copied) },
			Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		body(s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (s *deputyship) learn(v *View) {
	s.t.Helper()
	if _, err := s.views.Learn(v); err != nil {
		s.t.Fatal(err)
	}
}

func (s *deputyship) is(what *bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *what
}

func (s *deputyship) now(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// take takes from a limit of 100 of a partition's only bucket.
func (s *deputyship) take(p uint16, cost int64) {
	s.t.Helper()
	if o := s.Take(p, time.Now().UnixNano(), asked(cost)); o != limiter.Taken {
		s.t.Errorf("partition %d: %v", p, o)
	}
}

// left checks how much a store has left of partition 7.
func (s *deputyship) left(of *limiter.Store, want int64, when string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	takes := asked(0)
	of.Peek(7, time.Now().UnixNano(), takes)
	if takes[0].Remaining != want {
		s.t.Errorf("%s: %d are left, want %d", when, takes[0].Remaining, want)
	}
}

// ship brings the copy what the home has of partition 7, which names the reports that it knows of.
func (s *deputyship) ship(merged ...uint64) {
	s.t.Helper()
	now := time.Now().UnixNano()
	s.store.Track(7, uint64(now)) // all of it
	b, _ := s.store.Changes(7, now, 1<<16)
	if err := s.Beside(7, merged, func(owed [][]byte) error { return s.copy.Restore(7, now, 0, b, owed...) }); err != nil {
		s.t.Error(err)
	}
}

func asked(cost int64) []limiter.Take {
	limit := &limiter.Limit{Algorithm: limiter.FixedWindow, Count: 100, Period: 24 * time.Hour}
	return []limiter.Take{{Key: limiter.Key{Hi: 1, Lo: 2}, Limit: limit, Cost: cost}}
}

func TestAHomeHearsOnceOfWhatItsDeputyTook(t *testing.T) {
	asDeputy(t, func(s *deputyship) {
		s.now(func() { s.down = true })
		s.take(7, 3)
		time.Sleep(time.Second)
		s.take(7, 4) // while it tries to tell the first
		s.take(8, 1)
		time.Sleep(10 * time.Second)
		s.now(func() { s.down, s.mute = false, 2 })
		time.Sleep(5 * time.Second)
		s.left(s.store, 93, "told")
		s.take(7, 2)
		time.Sleep(time.Second)
		s.left(s.store, 91, "told of more")
		if n := len(s.sources); n != 4 { // two of 7, one of 8, and the last
			t.Errorf("%d reports: %v", n, s.sources)
		}
		s.learn(owned(s.views.Current(), "b", "a", ""))
		s.take(7, 50) // for a partition that is its own, but where it has not begun
		time.Sleep(time.Second)
		if len(s.owing()) != 1 {
			t.Error("dropped before the tenure begins: the last parcel may come still")
		}
		s.now(func() { s.begun = true })
		time.Sleep(time.Second)
		s.left(s.store, 91, "at home")
		if n := s.stores[0].Len() + s.stores[1].Len(); n != 0 || len(s.owing()) != 0 {
			t.Errorf("%d debits are kept", n)
		}
	})
}

func TestACopyHasWhatItsDeputyTookUntilTheHomeShipsIt(t *testing.T) {
	asDeputy(t, func(s *deputyship) {
		s.now(func() { s.down, s.copied = true, true })
		s.take(7, 30)
		s.ship()
		s.left(s.copy, 70, "the home knows nothing of it")
		time.Sleep(time.Second)
		s.take(7, 5)
		s.ship()
		s.left(s.copy, 65, "nor of more")
		s.now(func() { s.down = false })
		time.Sleep(time.Second)
		s.left(s.store, 70, "the home was told of the first")
		first := slices.Collect(maps.Keys(s.sources))[0]
		time.Sleep(time.Second)
		s.ship(first)
		s.left(s.copy, 65, "what it ships says so")
		time.Sleep(time.Second)
		s.left(s.store, 65, "told of the second")
		s.ship(1, first, first+1)
		s.left(s.copy, 65, "which it ships, too")
		s.ship(first, first+1)
		s.left(s.copy, 65, "and ships again")
		time.Sleep(2 * reportEvery)
		if len(s.owing()) != 0 || len(s.sources) != 2 {
			t.Errorf("debts of %v, reports %v", s.owing(), s.sources)
		}
	})
}

func TestADebitIsToldToTheNextHomeThatDoesNotKnowOfIt(t *testing.T) {
	asDeputy(t, func(s *deputyship) {
		s.now(func() { s.copied = true })
		s.take(7, 30)
		time.Sleep(time.Second)
		s.left(s.store, 70, "told")
		s.learn(owned(s.views.Current(), "c", "b", ""))
		s.now(func() { s.store, s.down = limiter.NewStore(limiter.DefaultConfig()), true })
		time.Sleep(2 * settleDebits)
		s.now(func() { s.down = false })
		time.Sleep(time.Second)
		s.left(s.store, 70, "the next home is told")
		for _, n := range s.sources {
			if n != 2 || len(s.sources) != 1 {
				t.Errorf("reports %v", s.sources)
			}
		}
		time.Sleep(settleDebits)
		if len(s.owing()) != 0 {
			t.Error("it waits for ever for what the home ships")
		}
	})
}

func TestAHomeThatHangsKeepsNoOtherFromBeingTold(t *testing.T) {
	asDeputy(t, func(s *deputyship) {
		v := owned(s.views.Current(), "a", "b", "")
		v.Table.Homes[9] = uint16(v.Find("c"))
		s.learn(v)
		s.now(func() { s.hangs = true })
		for told := range int64(60) { // in any order
			d := NewDebits(s.cfg)
			d.cfg.Source += uint64(1+told) << 20
			for _, p := range []uint16{7, 9} {
				d.Take(p, time.Now().UnixNano(), asked(1))
			}
			go d.round(s.t.Context())
			time.Sleep(reportWait / 2)
			s.left(s.store, 99-told, "told")
			time.Sleep(reportWait)
		}
	})
}
