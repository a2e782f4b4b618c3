package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/ring"
)

// The client's view is ahead of a server's: whatever that one says, in answers or as its view, turns nobody back.
func TestAClientAheadIsNotTurnedBack(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.nodes[1].tell(r.viewOf(5)) // the seed
		behind := r.viewOf(3)
		for p := range behind.Homes {
			behind.Homes[p], behind.Deputies[p] = 1, 0
		}
		r.nodes[0].tell(behind)
		k, done := r.open()
		defer done()
		before := r.sum(viewsOf)
		user := r.userOf(0)
		for range 10 {
			if d := r.check(k, user); d.Epoch != 3 || d.Home != "n2" {
				t.Fatalf("the server is not behind: %+v", d)
			}
			time.Sleep(250 * time.Millisecond)
		}
		if n := r.sum(viewsOf) - before; n != 0 {
			t.Errorf("the view was asked for %d times", n)
		}
		for range 20 { // refreshes and watches meet both nodes
			time.Sleep(31 * time.Second)
			if s := k.Stats(); s.Epoch != 5 {
				t.Fatalf("turned back to %d", s.Epoch)
			}
		}
		if n := r.nodes[0].checks.Load(); n != 10 {
			t.Errorf("%d of 10 went to the home of the newer view", n)
		}
	})
}

// A server is ahead of the client's view: one refresh, from that server, however many answers say so.
func TestAServerAheadIsFollowedByOneRefresh(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.limit = 1000
		k, done := r.open()
		defer done()
		user := r.userOf(0)
		r.check(k, user)
		time.Sleep(20 * time.Second) // the watch is settled, and so is the early refresh
		before, home := r.sum(viewsOf), r.nodes[0]
		home.knows(r.viewOf(9)) // its watchers are not told
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { _, _ = k.Check(t.Context(), ask(user)) })
		}
		all.Wait()
		time.Sleep(100 * time.Millisecond)
		if s := k.Stats(); s.Epoch != 9 {
			t.Errorf("still at %d", s.Epoch)
		}
		time.Sleep(time.Second)
		if n := r.sum(viewsOf) - before; n != 1 {
			t.Errorf("the view was asked for %d times", n)
		}
	})
}

// Gossip thought a home gone that is back: its first answer through another node has the view looked at again.
func TestAHomeThatIsBackIsFoundAgain(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			gone := r.viewOf(1)
			gone.Members[0].Alive = false
			f.tell(gone)
		}
		k, done := r.open()
		defer done()
		time.Sleep(2 * time.Second) // the watch has begun
		for _, f := range r.nodes {
			f.knows(r.viewOf(1)) // the epoch is the same: no watcher is told
		}
		user := r.userOf(0)
		r.check(k, user)
		time.Sleep(10 * time.Millisecond)
		r.check(k, user)
		if s := k.Stats(); s.Other != 1 || s.Home != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Refreshes that change nothing keep their distance.
func TestRefreshesKeepTheirDistance(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		r.limit = 10_000
		k, done := r.open()
		defer done()
		for _, f := range r.nodes {
			f.answer(func(_ context.Context, c *weirv1.CheckRequest) *weirv1.Outcome {
				d := f.truth(c)
				d.Epoch = 99 // nobody tells that view
				return &weirv1.Outcome{Decision: d}
			})
		}
		before, began := r.sum(viewsOf), time.Now()
		for range 1000 {
			r.check(k, "u")
			time.Sleep(time.Millisecond)
		}
		took := time.Since(began)
		if n := r.sum(viewsOf) - before; n < 5 || n > int64(took/(200*time.Millisecond))+1 {
			t.Errorf("the view was asked for %d times within %v", n, took)
		}
	})
}

// A node of another cluster, at an address that was one of ours, changes nothing.
func TestAnotherClustersViewIsIgnored(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		foreign := r.viewOf(50)
		foreign.Cluster = "other"
		for _, f := range r.nodes {
			f.tell(foreign)
		}
		time.Sleep(time.Minute)
		if v, err := k.View(t.Context()); err != nil || v.Cluster != "c" || v.Epoch != 1 {
			t.Errorf("%s %d, %v", v.Cluster, v.Epoch, err)
		}
	})
}

// Exactly the limit is admitted by several clients while the homes change under them.
func TestSeveralClientsAcrossAChangeOfHomes(t *testing.T) {
	bubble(t, 3, func(t *testing.T, r *rig) {
		r.limit = 50
		admitted := map[string]int{}
		for c := range 4 {
			k, done := r.open()
			defer done()
			for i := range 100 {
				user := fmt.Sprint("u", i%3)
				if r.check(k, user).Allowed() {
					admitted[user]++
				}
				if c == 1 && i == 50 {
					turned := r.viewOf(2)
					for p := range turned.Homes {
						turned.Homes[p], turned.Deputies[p] = turned.Deputies[p], turned.Homes[p]
					}
					for _, f := range r.nodes {
						f.tell(turned)
					}
				}
			}
		}
		for user, n := range admitted {
			if n != 50 {
				t.Errorf("%s: %d admitted, partition %d", user, n, ring.Partition("d", user))
			}
		}
	})
}

// Of one epoch, the view with the older policy is as little news as one of an older epoch.
func TestAnOlderPolicyIsNotTakenBack(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		newer, older := r.viewOf(1), r.viewOf(1)
		newer.PolicyVersion, older.PolicyVersion = 3, 2
		r.nodes[1].tell(newer) // the seed
		r.nodes[0].tell(older)
		k, done := r.open()
		defer done()
		for range 20 {
			time.Sleep(31 * time.Second)
			if s := k.Stats(); s.PolicyVersion != 3 {
				t.Fatalf("back to policy %d", s.PolicyVersion)
			}
		}
	})
}

// How many clients live changes without an epoch: the view is looked at soon after the start, and now and then.
func TestWhoLivesIsLookedUpNowAndThen(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open()
		defer done()
		time.Sleep(2 * time.Second) // the watch has begun
		for clients, within := range []time.Duration{0, 4 * time.Second, 40 * time.Second} {
			for _, f := range r.nodes {
				v := r.viewOf(1)
				v.Members[0].Clients = uint32(clients)
				f.knows(v)
			}
			time.Sleep(within)
			if v, err := k.View(t.Context()); err != nil || v.Members[0].Clients != clients {
				t.Errorf("%d clients, expected %d; %v", v.Members[0].Clients, clients, err)
			}
		}
	})
}

// A node that takes a watch and tells nothing is left for the next, again and again.
func TestASilentWatchIsLeft(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		for _, f := range r.nodes {
			f.mute = true
		}
		_, done := r.open()
		defer done()
		time.Sleep(time.Minute)
		if a, b := r.nodes[0].watches.Load(), r.nodes[1].watches.Load(); a < 1 || b < 1 || a+b < 10 || a+b > 60 {
			t.Errorf("watched %d and %d times", a, b)
		}
	})
}

// The node that is watched falls silent: once it is left alone, another one is watched.
func TestANodeThatIsLeftAloneIsNotWatched(t *testing.T) {
	bubble(t, 2, func(t *testing.T, r *rig) {
		k, done := r.open(func(c *client.Config) { c.DenyMax = -1 })
		defer done()
		time.Sleep(2 * time.Second)
		watched := 0
		if r.nodes[1].watches.Load() == 1 {
			watched = 1
		}
		user, other := r.userOf(watched), r.nodes[1-watched]
		was := other.watches.Load()
		r.check(k, user)
		r.network.Cut("10.0.1.1", r.nodes[watched].ip)
		for range 6 {
			r.check(k, user)
		}
		time.Sleep(4 * time.Second) // gRPC would find out after ten
		if n := other.watches.Load() - was; n < 1 || n > 3 {
			t.Errorf("the other is watched %d times", n)
		}
		r.network.HealAll()
	})
}
