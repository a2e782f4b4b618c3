package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// A window of ten years does not end while a test runs.
const proofPolicy = `
version: 1
domains:
  proof:
    account: [user]
    limits:
      - {name: all, key: [user], algorithm: fixed_window, limit: 40, window: 3650d}
`

const proofLimit = 40

// access opens a gRPC connection to each node, at the address that the view names.
func (c *cluster) access(t *testing.T) []weirv1.AccessServiceClient {
	t.Helper()
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all []weirv1.AccessServiceClient
	for _, m := range v.Members {
		conn, err := grpc.NewClient(m.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, weirv1.NewAccessServiceClient(conn))
	}
	return all
}

// Whoever is asked, over gRPC or HTTP, one home decides: of 128 checks that 64 clients spray at once over
// all nodes, exactly the limit is admitted, 100 times in a row.
func TestExactlyTheLimitIsAdmittedWhoeverIsAsked(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{3, 5} {
		t.Run(fmt.Sprintf("%d processes", nodes), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, nodes, "--policy", file(t, "proof.yaml", proofPolicy))
			rpc := c.access(t)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			homes := map[string]int{}
			for round := range 100 {
				home, admitted := c.spray(t, rpc, rand.New(rand.NewPCG(seed, uint64(round))), fmt.Sprintf("user-%d", round))
				if homes[home]++; admitted != proofLimit {
					t.Fatalf("round %d: %d admitted, want exactly %d", round, admitted, proofLimit)
				}
			}
			t.Logf("100 rounds of 128 checks, %d admitted in each, by homes %v", proofLimit, homes)
		})
	}
}

// spray has 64 clients check one account at once, two checks each, at random nodes, half of them over gRPC.
// It returns the home and how many were admitted.
func (c *cluster) spray(t *testing.T, rpc []weirv1.AccessServiceClient, r *rand.Rand, user string) (string, int64) {
	t.Helper()
	var admitted atomic.Int64
	var mu sync.Mutex
	homes := map[string]bool{}
	note := func(allowed bool, reason, home string, err error) {
		if err != nil || (reason != "OK" && reason != "RATE_LIMITED") {
			t.Errorf("%s: reason %s by %s, %v", user, reason, home, err)
		}
		if allowed {
			admitted.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		homes[home] = true
	}
	var clients sync.WaitGroup
	for range 64 {
		web, wire := c.clients[r.IntN(len(c.clients))], rpc[r.IntN(len(rpc))]
		clients.Go(func() {
			d, err := web.Check(c.ctx, client.CheckRequest{Domain: "proof", Attributes: map[string]string{"user": user}})
			note(d.Allowed(), d.Reason, d.Home, err)
			w, err := wire.Check(c.ctx, &weirv1.CheckRequest{Domain: "proof", Attributes: []*weirv1.Attribute{{Name: "user", Value: user}}})
			note(w.GetVerdict() == weirv1.Verdict_VERDICT_ALLOW, w.GetReason(), w.GetHome(), err)
		})
	}
	clients.Wait()
	if len(homes) != 1 {
		t.Errorf("%s was decided by %v", user, homes)
	}
	for home := range homes {
		return home, admitted.Load()
	}
	return "", 0
}

// The same debit, sent ten times to random nodes while the leader is killed, is made once; all answers are
// equal, and an explicit "unknown" is resolved by a repeat. Three leaders die, one after the other.
func TestADebitIsMadeOnceWhileLeadersAreKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	if _, err := c.clients[0].OpenAccount(c.ctx, "open", client.Account{ID: "acme", UseCredits: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.clients[1].Grant(c.ctx, "grant", "acme", client.Grant{Kind: "credit", AmountMicros: 10_000_000}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		leader := c.leader(t)
		receipts := c.repeatDebit(t, "debit-"+strconv.Itoa(round), leader)
		for _, r := range receipts {
			r.Replayed, r.Attempts = receipts[0].Replayed, receipts[0].Attempts // which of the ten came first, and how many had come
			if fmt.Sprint(r) != fmt.Sprint(receipts[0]) {
				t.Errorf("round %d: answers differ: %+v and %+v", round, r, receipts[0])
			}
		}
		want := int64(10_000_000 - 1_000_000*(round+1))
		if got := receipts[0].BalanceAfterMicros; got != want {
			t.Errorf("round %d: balance after %d, want %d", round, got, want)
		}
		if err := c.nodes[leader].start(); err != nil {
			t.Fatal(err)
		}
		if err := c.nodes[leader].awaitReady(c.ctx); err != nil {
			t.Fatal(err)
		}
		statement, err := c.clients[leader].Account(c.ctx, "acme")
		if err != nil || statement.BalanceMicros != want {
			t.Errorf("round %d: the node that was killed says %d, %v, want %d", round, statement.BalanceMicros, err, want)
		}
	}
}

// repeatDebit sends one debit ten times to random nodes, kills the given one after the third is sent, and
// returns the ten answers. Each caller repeats until it has one, as callers should.
func (c *cluster) repeatDebit(t *testing.T, key string, kill int) []client.Receipt {
	t.Helper()
	receipts := make([]client.Receipt, 10)
	var callers sync.WaitGroup
	var unknown atomic.Int64
	for i := range receipts {
		if i == 3 {
			if err := c.nodes[kill].kill(); err != nil {
				t.Fatal(err)
			}
		}
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
			defer cancel()
			for {
				r, err := c.clients[rand.IntN(len(c.clients))].Debit(ctx, key, "acme", client.Debit{AmountMicros: 1_000_000})
				if err == nil {
					receipts[i] = r
					return
				}
				unknown.Add(1)
				if ctx.Err() != nil || answeredBelow500(err) {
					t.Errorf("%s: %v", key, err)
					return
				}
				time.Sleep(10 * time.Millisecond) // a real caller's pause
			}
		})
	}
	callers.Wait()
	t.Logf("%s: ten answers, after %d that said nothing or unknown", key, unknown.Load())
	return receipts
}

func answeredBelow500(err error) bool {
	var p *rest.Problem
	return errors.As(err, &p) && p.Status < 500
}

// leader returns the index of the process that leads the Raft group.
func (c *cluster) leader(t *testing.T) int {
	t.Helper()
	for c.ctx.Err() == nil {
		v, err := c.clients[0].View(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(c.nodes, func(p *process) bool { return p.name == v.Leader }); i >= 0 {
			return i
		}
		time.Sleep(50 * time.Millisecond) // real processes: nothing to wait on but their answers
	}
	t.Fatal("no leader in time")
	return 0
}
