package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// events returns what node i says has happened in the ledger, each event as it came.
func (c *cluster) events(t *testing.T, i int, atLeast int) []string {
	t.Helper()
	var all []string
	c.until(t, fmt.Sprint(atLeast, " events at ", c.nodes[i].name), func() bool {
		all = nil
		for q := (rest.EventQuery{Limit: 10}); ; {
			page, next, err := c.clients[i].Events(c.ctx, q)
			if err != nil || next == q.After {
				return err == nil && len(all) >= atLeast
			}
			for _, e := range page {
				all = append(all, string(e.Raw))
			}
			q.After = next
		}
	})
	return all
}

// TestEventsAreTheSameAtEveryNodeAndAfterEachWasKilled has four nodes: one has no journal and asks a voter.
func TestEventsAreTheSameAtEveryNodeAndAfterEachWasKilled(t *testing.T) {
	c := startCluster(t, 4)
	c.fund(t, 0, "alice", 5_000_000)
	for i := range 20 {
		if _, err := c.clients[i%4].Debit(c.ctx, fmt.Sprint("debit-", i), "alice", client.Debit{AmountMicros: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	want := c.events(t, 0, 22) // an account, a grant, twenty debits
	if len(want) != 22 {
		t.Errorf("%d events", len(want))
	}
	same := func(when string) {
		t.Helper()
		for i := range c.nodes {
			if got := c.events(t, i, len(want)); !slices.Equal(got, want) {
				t.Errorf("%s: %s tells\n%q\nwant\n%q", when, c.nodes[i].name, got, want)
			}
		}
	}
	same("at first")
	c.killAll(t, func() {})
	same("after kill -9 of all")
	if _, err := c.clients[3].Debit(c.ctx, "late", "alice", client.Debit{AmountMicros: 1}); err != nil {
		t.Fatal(err)
	}
	want = append(want, c.events(t, 1, 23)[22:]...)
	same("after one more")
}
