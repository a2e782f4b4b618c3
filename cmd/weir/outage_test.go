package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

const outagePolicy = `
version: 1
domains:
  demo:
    account: [user]
    limits:
      - {name: bucket, key: [user], algorithm: token_bucket, rate: 10/h, burst: 10}
      - {name: window, match: {kind: window}, key: [user], algorithm: fixed_window, limit: 10, window: 1000h}
      - {name: quota, match: {kind: quota}, key: [user], algorithm: calendar_window, limit: 10, window: year}
  load:
    account: [user]
    limits:
      - {name: most, key: [user], algorithm: fixed_window, limit: 1000000000, window: 1000h}
`

const snapshotPromise = 10 * time.Second // of use may be forgotten, while snapshots are written in time

// asks asks a node about a user of a domain.
func (c *cluster) asks(t *testing.T, i int, r client.CheckRequest) client.Decision {
	t.Helper()
	d, err := c.clients[i].Check(c.ctx, r)
	if err != nil {
		t.Fatalf("%s about %v: %v", c.nodes[i].name, r.Attributes, err)
	}
	return d
}

// snapshotAge is for how long the disk of the node that lags most has not had all there is.
func (c *cluster) snapshotAge(t *testing.T) (age time.Duration) {
	t.Helper()
	for _, p := range c.nodes {
		age = max(age, time.Duration(p.gauge(t, "weir_snapshot_age_seconds")*float64(time.Second)))
	}
	return age
}

// gauge reads a metric without labels.
func (p *process) gauge(t *testing.T, name string) (value float64) {
	t.Helper()
	r, err := http.Get("http://" + p.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	_, after, found := strings.Cut(string(text), "\n"+name+" ")
	if _, bad := fmt.Sscan(after, &value); err != nil || !found || bad != nil {
		t.Fatalf("no %s at %s: %v, %v", name, p.name, err, bad)
	}
	return value
}

// killAll ends every process with kill -9, and starts them again when all are gone.
func (c *cluster) killAll(t *testing.T, meanwhile func()) {
	t.Helper()
	for _, p := range c.nodes {
		if err := p.running.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range c.nodes {
		<-p.ended
	}
	meanwhile()
	for _, p := range c.nodes {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.awaitReady(c.ctx); err != nil {
		t.Fatal(err)
	}
}

// busyUser is a user who asks all nodes in turn, all the time.
type busyUser struct {
	began       time.Time
	stop, ended chan struct{}
	times       []time.Duration // from the beginning until each that was admitted was answered
}

// load has such a user ask until its end.
func (c *cluster) load() *busyUser {
	u := &busyUser{began: time.Now(), stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(u.ended)
		for n := 0; ; n++ {
			select {
			case <-u.stop:
				return
			default:
			}
			d, err := c.clients[n%3].Check(c.ctx, client.CheckRequest{Domain: "load", Attributes: map[string]string{"user": "busy"}})
			if err == nil && d.Verdict == "ALLOW" {
				u.times = append(u.times, time.Since(u.began))
			}
		}
	}()
	return u
}

func (u *busyUser) end() {
	close(u.stop)
	<-u.ended
}

// admitted is how often it was by then; it may be asked after the end.
func (u *busyUser) admitted(by time.Duration) int64 {
	n, _ := slices.BinarySearch(u.times, by)
	return int64(n)
}

// Every process is killed with kill -9 while there is load, and started again. Limits that were not used lately are as they
// were; of the others what was used within the last seconds may be forgotten; credit is exact.
func TestLimitsAndCreditOutlastTheKillOfEveryNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--policy", file(t, "outage.yaml", outagePolicy))
	if _, err := c.clients[0].OpenAccount(c.ctx, "open", client.Account{ID: "acme", UseCredits: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.clients[1].Grant(c.ctx, "grant", "acme", client.Grant{Kind: "credit", AmountMicros: 10_000_000}); err != nil {
		t.Fatal(err)
	}
	quiet := func(i int) client.CheckRequest {
		return client.CheckRequest{Domain: "demo", Attributes: map[string]string{"user": fmt.Sprint("quiet-", i), "kind": []string{"window", "quota", "none"}[i%3]}}
	}
	const users = 18
	for i := range users {
		for range i % 10 {
			c.asks(t, i%3, quiet(i))
		}
	}
	used := time.Now()
	for c.snapshotAge(t) > time.Since(used)/2 { // until the disks have it
		time.Sleep(readyPause)
	}

	busy := c.load()
	for i := range 5 {
		if _, err := c.clients[2].Debit(c.ctx, fmt.Sprint("debit-", i), "acme", client.Debit{AmountMicros: 1_000_000}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
	}
	before, err := c.clients[0].Account(c.ctx, "acme")
	if err != nil || before.BalanceMicros != 5_000_000 {
		t.Fatalf("balance %d, %v", before.BalanceMicros, err)
	}
	age := c.snapshotAge(t)
	for ; age+3*time.Second > time.Since(busy.began); age = c.snapshotAge(t) {
		time.Sleep(readyPause)
	}
	asked := time.Since(busy.began)
	c.killAll(t, busy.end)
	least, most := busy.admitted(asked-age-time.Second), busy.admitted(time.Hour)
	t.Logf("killed when the snapshots were %s old, after %d admitted, %d of them before that", age, most, least)
	if age > snapshotPromise {
		t.Logf("this machine is slow: a snapshot should be at most %s old", snapshotPromise)
	}

	c.settled(t, users, quiet)
	for i := range users {
		left := 0
		for range 12 {
			if c.asks(t, (i+1)%3, quiet(i)).Verdict == "ALLOW" {
				left++
			}
		}
		if left != 10-i%10 {
			t.Errorf("quiet-%d: %d more admitted after %d of 10", i, left, i%10)
		}
	}
	d := c.asks(t, 1, client.CheckRequest{Domain: "load", Attributes: map[string]string{"user": "busy"}})
	if got := 1_000_000_000 - 1 - d.Limits[0].Remaining; got < least || got > most+1 { // the answer to the last one was lost
		t.Errorf("busy: %d are remembered of %d, want at least %d", got, most, least)
	}
	for i := range c.clients {
		after, err := c.clients[i].Account(c.ctx, "acme")
		if err != nil || after.BalanceMicros != before.BalanceMicros || after.Seq != before.Seq {
			t.Errorf("%s: balance %d at %d, %v, want %d at %d", c.nodes[i].name, after.BalanceMicros, after.Seq, err, before.BalanceMicros, before.Seq)
		}
	}
}

// settled returns when every node gets its answers from the homes.
func (c *cluster) settled(t *testing.T, users int, of func(i int) client.CheckRequest) {
	t.Helper()
	for i := 0; i < users*len(c.nodes); {
		r := of(i / len(c.nodes))
		r.Mode = client.Peek
		d, err := c.clients[i%len(c.nodes)].Check(c.ctx, r)
		switch {
		case c.ctx.Err() != nil:
			t.Fatal(c.ctx.Err())
		case err != nil || strings.HasPrefix(d.Reason, "FALLBACK_"):
			time.Sleep(readyPause)
			i = 0
		default:
			i++
		}
	}
}
