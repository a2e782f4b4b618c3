package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/policy"
)

// follower is a quorum whose leader is b.
type follower struct{ Quorum }

func (follower) Leading() bool          { return false }
func (follower) Leader() (string, bool) { return "b", true }

// granting is a leader that grants a level after a while.
type granting struct {
	level atomic.Uint64
	takes time.Duration
	dead  atomic.Bool
	says  atomic.Pointer[error] // instead of a grant
	last  atomic.Pointer[Renewal]
}

func (p *granting) Peer(string) Peer { return grantor{granting: p} }

type grantor struct {
	Peer
	granting *granting
}

func (p grantor) Renew(ctx context.Context, r Renewal) (Grant, error) {
	p.granting.last.Store(&r)
	if p.granting.dead.Load() {
		<-ctx.Done()
		return Grant{}, ErrUnreachable
	}
	if says := p.granting.says.Load(); says != nil {
		return Grant{}, *says
	}
	time.Sleep(p.granting.takes)
	return Grant{Level: p.granting.level.Load(), Revision: 1}, nil
}

// leasing is the lease of node a, which is home of all in the first view; b leads.
func leasing(t *testing.T, leader *granting, logger *slog.Logger) (*Lease, *Views) {
	t.Helper()
	copies := NewCopies(CopiesConfig{Name: "a", Boot: "1", Now: time.Now, State: newShelf(), Peers: leader, Logger: slog.New(slog.DiscardHandler)})
	views := NewViews(func(_, next *View) { copies.Adopt(next) })
	if _, err := views.Learn(owned(nil, "a", "", "")); err != nil {
		t.Fatal(err)
	}
	return NewLease(LeaseConfig{
		Name: "a", Boot: "1", Server: "a/s", Times: DefaultLeaseTimes(), Now: time.Now, Views: views,
		Policies: &fakePolicies{revision: 1}, Quorum: follower{}, Gossip: known(sighted("a", "1"), sighted("b", "1")), Peers: leader,
		Copies: copies, Logger: logger,
	}), views
}

// leased runs body beside the lease of node a; b grants level 1.
func leased(t *testing.T, takes time.Duration, body func(t *testing.T, l *Lease, leader *granting, views *Views)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		leader := &granting{takes: takes}
		leader.level.Store(1)
		l, views := leasing(t, leader, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		body(t, l, leader, views)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if l.Holds(0) || leader.last.Load() == nil || !leader.last.Load().Released {
			t.Errorf("after the end it holds %t, and said last %+v", l.Holds(0), leader.last.Load())
		}
	})
}

func holds(t *testing.T, l *Lease, want bool, when string) {
	t.Helper()
	if got := l.Holds(0); got != want {
		t.Errorf("%s: it holds a lease: %t", when, got)
	}
}

func TestALeaseCountsFromWhenItWasAskedFor(t *testing.T) {
	leased(t, 500*time.Millisecond, func(t *testing.T, l *Lease, leader *granting, _ *Views) {
		holds(t, l, false, "before the first answer")
		time.Sleep(500*time.Millisecond - 1)
		leader.dead.Store(true) // asks on their way are answered still
		time.Sleep(2 * time.Nanosecond)
		holds(t, l, true, "with the first answer")
		end, _ := l.Until()
		if left := time.Until(end); left > 1500*time.Millisecond || left < 1400*time.Millisecond {
			t.Errorf("a grant that took half a second holds for %v", left)
		}
		time.Sleep(3 * time.Second)
		holds(t, l, false, "the leader is gone")
	})
}

func TestALeaseHoldsWithoutABreakWhileTheLeaderAnswers(t *testing.T) {
	leased(t, 100*time.Millisecond, func(t *testing.T, l *Lease, leader *granting, _ *Views) {
		time.Sleep(time.Second)
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			holds(t, l, true, "all the while")
		}
		if r := *leader.last.Load(); r.Heard < 30 || r.Heard > 45 || r.Margin != DefaultLeaseTimes().Margin || r.Duration != DefaultLeaseTimes().Duration {
			t.Errorf("after ten seconds it says %+v", r)
		}
		leader.dead.Store(true)
		time.Sleep(1300 * time.Millisecond)
		holds(t, l, true, "a leader is missing for less than a lease lasts")
	})
}

func TestALeaseDoesNotReachPartitionsGivenLater(t *testing.T) {
	leased(t, 0, func(t *testing.T, l *Lease, leader *granting, views *Views) {
		time.Sleep(100 * time.Millisecond)
		holds(t, l, true, "of the first view")
		other := owned(views.Current(), "b", "", "")
		if _, err := views.Learn(other); err != nil {
			t.Fatal(err)
		}
		holds(t, l, false, "another is home")
		if _, err := views.Learn(owned(other, "a", "", "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		holds(t, l, false, "home again, with a lease of before")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if l.Wait(ctx, 0) || time.Since(began) != leaseWait {
			t.Errorf("it waits %v for a lease that does not come", time.Since(began))
		}
		leader.level.Store(3)
		time.Sleep(time.Second)
		holds(t, l, true, "home again")
		if !l.Wait(ctx, 0) || !l.Whole() {
			t.Error("it has a lease for all")
		}
	})
}

func withLeaving(s Sighting) Sighting {
	s.Leaving = true
	return s
}

func TestLeaseTimesMustOutlastAnElection(t *testing.T) {
	for _, c := range []struct {
		times LeaseTimes
		good  bool
	}{
		{DefaultLeaseTimes(), true},
		{LeaseTimes{Duration: 1700 * time.Millisecond, Renewal: 300 * time.Millisecond, Margin: 200 * time.Millisecond}, false},
		{LeaseTimes{Duration: 4 * time.Second, Renewal: 300 * time.Millisecond, Margin: 100 * time.Millisecond}, false},
		{LeaseTimes{Duration: 4 * time.Second, Renewal: time.Millisecond, Margin: 200 * time.Millisecond}, false},
		{LeaseTimes{Duration: 57 * time.Second, Renewal: time.Second, Margin: 3 * time.Second}, true},
		{LeaseTimes{Duration: 57 * time.Second, Renewal: time.Second, Margin: 4 * time.Second}, false},
	} {
		if err := c.times.Validate(500 * time.Millisecond); (err == nil) != c.good {
			t.Errorf("%+v: %v", c.times, err)
		}
	}
}

func TestARefusedLeaseIsLoggedNowAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		leader := &granting{}
		l, _ := leasing(t, leader, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		lost, refused := error(ErrUnreachable), fmt.Errorf("%w: a lease of 2s is longer", policy.ErrInvalid)
		leader.says.Store(&lost)
		go func() { over <- l.Run(ctx) }()
		time.Sleep(remindEvery)
		if got := *leader.last.Load(); got.Duration != DefaultLeaseTimes().Duration {
			t.Errorf("it asks for %v", got.Duration)
		}
		leader.says.Store(&refused)
		time.Sleep(2*remindEvery + remindEvery/2)
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 3 || strings.Count(log.String(), "a lease of 2s is longer") != 3 {
			t.Errorf("%d warnings, want one every %v:\n%s", n, remindEvery, log.String())
		}
	})
}
