package node_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

// client returns a client of the cluster that lives on a host of its own; done closes it.
func (s *sim) client(ip string, seed *simNode) (k *client.Client, done func()) {
	s.t.Helper()
	c := client.DefaultConfig()
	c.Seeds, c.Dial, c.DenyMax = []string{seed.ip + ":8081"}, s.network.Host(ip).Dial, -1
	k, err := client.Open(s.t.Context(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	return k, func() {
		s.t.Helper()
		if err := k.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *sim) ask(k *client.Client, user string) client.Decision {
	s.t.Helper()
	began := time.Now()
	d, err := k.Check(s.t.Context(), client.CheckRequest{Domain: "d", Attributes: map[string]string{"user": user}})
	if took := time.Since(began); err != nil || took > 50*time.Millisecond {
		s.t.Errorf("%s: %+v, %v after %v", user, d, err, took)
	}
	return d
}

// Clients go straight to the homes, whichever node they know, and admit exactly the limit together.
func TestClientsGoStraightHome(t *testing.T) {
	simulate(t, 21, 3, func(s *sim) {
		var clients []*client.Client
		for i, m := range s.nodes {
			k, done := s.client(fmt.Sprint("10.0.2.", i+1), m)
			defer done()
			clients = append(clients, k)
		}
		for _, m := range s.nodes {
			user, allowed := s.userOf(m.name), 0
			for i := range 15 {
				d := s.ask(clients[i%3], user)
				if d.Home != m.name {
					s.t.Errorf("decided by %s, not %s: %+v", d.Home, m.name, d)
				}
				if d.Allowed() {
					allowed++
				}
			}
			if allowed != 10 {
				s.t.Errorf("%d of %s allowed, want 10", allowed, user)
			}
		}
		for i, k := range clients {
			if st := k.Stats(); st.Home != 15 || st.Other+st.Retried+st.Fallback != 0 {
				s.t.Errorf("client %d: %+v", i, st)
			}
		}
		s.until("the clients are counted", func() bool {
			v, err := clients[0].View(s.t.Context())
			if err != nil {
				s.t.Error(err)
			}
			n := 0
			for _, m := range v.Members {
				n += m.Clients
			}
			return n == len(clients)
		})
	})
}

// A node leaves and comes back while several clients hammer one limit: exactly the limit is admitted, nobody is told to
// fall back for long, and all end up going straight to the new homes.
func TestClientsAcrossAChangeOfTheView(t *testing.T) {
	simulate(t, 22, 3, func(s *sim) {
		var clients []*client.Client
		for i := range 4 {
			k, done := s.client(fmt.Sprint("10.0.2.", i+1), s.nodes[i%2])
			defer done()
			clients = append(clients, k)
		}
		staying := s.userOf(s.nodes[0].name) // whose home does not change
		var allowed, answered atomic.Int64
		var hammer sync.WaitGroup
		stop := make(chan struct{})
		for _, k := range clients {
			hammer.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
					}
					d := s.ask(k, staying)
					answered.Add(1)
					if d.Allowed() {
						allowed.Add(1)
					}
					if d.Fallback() {
						s.t.Errorf("fell back: %+v", d)
					}
				}
			})
		}
		before := clients[0].Stats().Epoch
		s.stop(s.nodes[2])
		s.until("every client has a newer view", func() bool {
			for _, k := range clients {
				if k.Stats().Epoch == before {
					return false
				}
			}
			return true
		})
		close(stop)
		hammer.Wait()
		if allowed.Load() != 10 || answered.Load() < 20 {
			s.t.Errorf("%d of %d allowed, want 10", allowed.Load(), answered.Load())
		}
		for i, k := range clients {
			for _, m := range s.nodes[:2] {
				was := k.Stats().Home
				if d := s.ask(k, s.userOf(m.name)); d.Home != m.name || k.Stats().Home != was+1 {
					s.t.Errorf("client %d, %s: not straight home: %+v", i, m.name, d)
				}
			}
		}
	})
}

// The home crashes: its next checks are answered in time, by its deputy or by the fallback, and soon by a new home.
func TestAClientOutlivesACrashedHome(t *testing.T) {
	simulate(t, 23, 3, func(s *sim) {
		k, done := s.client("10.0.2.1", s.nodes[0])
		defer done()
		lost := s.nodes[2]
		user := s.userOf(lost.name)
		s.ask(k, user)
		s.crash(lost)
		time.Sleep(2 * time.Millisecond)
		for range 20 {
			if d := s.ask(k, user); d.Reason == "FALLBACK_CLOSED" || d.Home == lost.name {
				s.t.Errorf("%+v", d)
			}
		}
		s.until("a new home decides", func() bool {
			d := s.ask(k, user)
			return !d.Fallback() && d.Home != lost.name
		})
		s.until("the client has the newer view", func() bool { return k.Stats().Epoch > 1 })
		was := k.Stats()
		s.ask(k, user)
		if is := k.Stats(); is.Home != was.Home+1 {
			s.t.Errorf("not straight to the new home: %+v, then %+v", was, is)
		}
		if was.Refreshes > 30 {
			s.t.Errorf("%d refreshes", was.Refreshes)
		}
	})
}

// A reservation is settled at its home, credit is granted, and a balance is read, all over one client.
func TestAClientReservesGrantsAndReads(t *testing.T) {
	simulate(t, 24, 3, func(s *sim) {
		k, done := s.client("10.0.2.1", s.nodes[1])
		defer done()
		ctx := s.t.Context()
		if _, err := k.OpenAccount(ctx, "open", client.Account{ID: "acme", UseCredits: true, Labels: map[string]string{"tier": "gold"}}); err != nil {
			s.t.Fatal(err)
		}
		for i := range 2 {
			g, err := k.Grant(ctx, "grant", "acme", client.Grant{Kind: "credit", AmountMicros: 3_000_000})
			if err != nil || g.BalanceAfterMicros != 3_000_000 || g.Replayed != (i == 1) {
				s.t.Errorf("%+v, %v", g, err)
			}
		}
		if d, err := k.Debit(ctx, "debit", "acme", client.Debit{AmountMicros: 4_000_000, Overshoot: client.OvershootDeny}); err != nil || !d.Refused() {
			s.t.Errorf("%+v, %v", d, err)
		}
		if b, err := k.Balance(ctx, "acme"); err != nil || b.BalanceMicros != 3_000_000 || b.Labels["tier"] != "gold" {
			s.t.Errorf("%+v, %v", b, err)
		}
		q := client.CheckRequest{Domain: "d", Attributes: map[string]string{"user": "ann"}, Cost: map[string]int64{"requests": 8}}
		held, d, err := k.Reserve(ctx, q)
		if err != nil || held == nil || held.ID == "" {
			s.t.Fatalf("%+v, %v", d, err)
		}
		if _, d, err := k.Reserve(ctx, q); err != nil || d.Allowed() || !d.Limits[0].Refused || d.Limits[0].Fallback != "share" {
			s.t.Errorf("%+v, %v", d, err)
		}
		if done, err := held.Extend(ctx, time.Hour); err != nil || done.Expires < time.Hour {
			s.t.Errorf("%+v, %v", done, err)
		}
		if done, err := held.Settle(ctx, client.Settlement{Actual: map[string]int64{"requests": 1}}); err != nil || !done.Final {
			s.t.Errorf("%+v, %v", done, err)
		}
		if d := s.ask(k, "ann"); !d.Allowed() || d.Limits[0].Remaining != 8 { // 10 but for 1 settled and 1 asked now
			s.t.Errorf("%+v", d)
		}
	})
}
