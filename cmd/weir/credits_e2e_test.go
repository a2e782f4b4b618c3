package main

import (
	"testing"

	"github.com/weir-cluster/weir/client"
)

// What docs/credits.md tells, on a real cluster, each command at another node.
func TestTheLedgerFromTheCommandLine(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	step := 0
	do := func(code int, words string, args ...string) {
		t.Helper()
		step++
		c.weir(t, step%len(c.nodes), args...).want(t, code, words)
	}
	do(exitOK, "done", "credits", "open", "alice", "--plan", "free")
	do(exitOK, "done", "credits", "grant", "alice", "promo", "2", "--expires", "2099-01-31T00:00:00Z", "--key", "spring")
	do(exitOK, "a repetition", "credits", "grant", "alice", "promo", "2", "--expires", "2099-01-31T00:00:00Z", "--key", "spring")
	do(exitFailed, "used for another", "credits", "grant", "alice", "promo", "3", "--key", "spring")
	do(exitOK, "balance  1.5", "credits", "debit", "alice", "0.5", "--memo", "a picture", "--key", "picture-1")
	do(exitOK, "spring promo: 1.5 of 2 left, until 2099", "credits", "balance", "alice")

	do(exitDenied, "insufficient", "credits", "hold", "alice", "9")
	do(exitOK, "open: 0 captured, 1 held, ends in 1h0m0s", "credits", "hold", "alice", "1", "--for", "1h", "--key", "job-17")
	do(exitOK, "0.4 captured, 0.6 held", "credits", "capture", "job-17", "0.4")
	do(exitOK, "0.4 captured, 0.7 held", "credits", "extend", "job-17", "0.1")
	do(exitDenied, "exceeds_hold", "credits", "capture", "job-17", "0.8", "--overshoot", "deny")
	do(exitOK, "held      0.7 by open holds: 1", "credits", "balance", "alice")
	do(exitOK, "captured: 1 captured, 0 held", "credits", "capture", "job-17", "0.6", "--final")
	do(exitDenied, "already_captured", "credits", "release", "job-17")
	do(exitDenied, "refund_exceeds_captured", "credits", "refund", "job-17", "1.5")
	do(exitOK, "balance", "credits", "refund", "job-17", "0.25")
	do(exitOK, "balance", "credits", "refund", "picture-1")
	do(exitFailed, "not written", "credits", "refund", "never-1")
	do(exitFailed, "status 404", "credits", "capture", "never-2", "1")
	do(exitOK, "released: 0 captured", "credits", "release", "never-3")
	do(exitDenied, "hold_released", "credits", "hold", "alice", "1", "--key", "never-3")

	do(exitOK, "done", "credits", "set", "alice", "--plan", "pro", "--overdraft", "1", "--blocked")
	do(exitDenied, "blocked", "credits", "debit", "alice", "0.1")
	do(exitOK, "plan pro, blocked", "credits", "balance", "alice")
	do(exitOK, "done", "credits", "set", "alice", "--no-blocked")
	do(exitOK, "forgiven  7.75", "credits", "debit", "alice", "9", "--key", "picture-2")
	do(exitOK, "balance   -1", "credits", "debit", "alice", "3", "--overshoot", "overdraw")
	do(exitOK, "balance  -0.75", "credits", "adjust", "alice", "--give", "0.25", "--kind", "overdraft", "--memo", "uncollectable")
	do(exitOK, "done", "credits", "grant", "alice", "included", "5", "--id", "plan", "--every", "month", "--zone", "Europe/Berlin", "--rollover", "1")
	do(exitOK, "plan included: 5 every month, zone Europe/Berlin, rollover 1", "credits", "balance", "alice", "--max-staleness", "10s")
	do(exitOK, "done", "credits", "void", "alice", "plan")

	c.history(t)
	c.weir(t, 1, "events", "tail").want(t, exitOK, "MOVEMENT", "void", "alice")
	c.until(t, "the voters agree", func() bool { return c.weir(t, 2, "ledger", "status").code == exitOK })
	c.weir(t, 2, "ledger", "status").want(t, exitOK, "leader", c.nodes[0].name, c.nodes[1].name, c.nodes[2].name, "DIGEST")
}

// history holds the movements of alice together: newest first in pages they are those of the whole list turned around, and each goes
// on from the balance before it.
func (c *cluster) history(t *testing.T) {
	t.Helper()
	all, err := c.clients[0].Entries(c.ctx, "alice", 0, 256)
	if err != nil || len(all) < 10 {
		t.Fatalf("entries: %d, %v", len(all), err)
	}
	var pages []client.Entry
	for p := (client.Page{NewestFirst: true, Limit: 3}); ; {
		h, err := c.clients[1].History(c.ctx, "alice", p)
		if err != nil {
			t.Fatal(err)
		}
		if pages = append(pages, h.Entries...); h.Next == "" {
			break
		}
		p = client.Page{Cursor: h.Next, Limit: 3}
	}
	balance := int64(0)
	for i, e := range all {
		if back := pages[len(pages)-1-i]; back.Seq != e.Seq || back.Event != e.Event || len(pages) != len(all) {
			t.Fatalf("entry %d is %+v, in pages %+v", i, e, back)
		}
		if e.Seq != uint64(i)+1 || balance+balanceChange(e) != e.BalanceAfterMicros {
			t.Errorf("entry %d: seq %d, balance %d after %d and %d", i, e.Seq, e.BalanceAfterMicros, balance, balanceChange(e))
		}
		balance = e.BalanceAfterMicros
	}
	s, err := c.clients[2].AccountAsOf(c.ctx, "alice", client.Read{MinIndex: all[len(all)-1].Index})
	if err != nil || s.BalanceMicros != balance || s.Seq != all[len(all)-1].Seq {
		t.Errorf("alice has %d at %d, %v, the entries say %d at %d", s.BalanceMicros, s.Seq, err, balance, all[len(all)-1].Seq)
	}
	if _, err := c.clients[0].History(c.ctx, "alice", client.Page{Cursor: "n1.99999"}); err == nil {
		t.Error("a cursor of nothing gave a page")
	}
}
