//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

const (
	ballastFile   = "ballast"
	ballastLeaves = 8 << 20 // bytes: as when something else than the node has filled the disk nearly up
	fullDebits    = 100
)

// TestAFullDiskCostsNothingAcknowledged fills the file system of a follower, of the leader, and of all voters: real ones, on loop devices.
// With one the group goes on; with all, credits wait and limits do not. Each comes back without a restart when it has room.
func TestAFullDiskCostsNothingAcknowledged(t *testing.T) {
	c := startCluster(t, 3)
	mounts := c.onLoops(t)
	c.fund(t, 0, "dana", 1_000_000)
	c.fund(t, 0, "alice", 1_000_000_000)
	debits := 0
	for _, leads := range []bool{false, true} {
		victim := c.leader(t)
		if !leads {
			victim = (victim + 1) % 3
		}
		debits += c.withOneFull(t, victim, mounts[c.nodes[victim].name])
		t.Logf("with the disk of the leader full (%t) %d debits at three nodes were done; it caught up", leads, fullDebits)
	}
	debits += c.withAllFull(t, mounts)
	for i := range c.nodes {
		if got, want := c.balance(t, i, "dana"), int64(1_000_000-debits); got != want {
			t.Errorf("%s tells a balance of %d, want %d", c.nodes[i].name, got, want)
		}
	}
	c.weir(t, 0, "ledger", "verify").want(t, exitOK, "sound")
	endAll(t, c.nodes...)
	for _, p := range c.nodes {
		weir(t, "ledger", "verify", p.dir()).want(t, exitOK, "sound")
	}
}

// withOneFull fills the disk of one voter while debits go on at all nodes, and makes room.
func (c *cluster) withOneFull(t *testing.T, victim int, mount string) int {
	t.Helper()
	name := c.nodes[victim].name
	fill(t, mount)
	c.until(t, name+" says what is wrong", func() bool { return c.nodes[victim].worried(t) })
	for i := range fullDebits {
		key := fmt.Sprint("with-", name, "-full-", i)
		c.until(t, "debit "+key, func() bool { // the same key until it is answered
			_, err := c.clients[i%3].Debit(c.ctx, key, "dana", client.Debit{AmountMicros: 1})
			return err == nil
		})
	}
	if d := c.check(t, victim, fmt.Sprint("user-of-", name)); d.Verdict != "ALLOW" {
		t.Errorf("%s decides %+v", name, d)
	}
	if lags := c.nodes[victim].gauge(t, "weir_journal_newest") < c.nodes[(victim+1)%3].gauge(t, "weir_journal_newest"); !lags {
		t.Errorf("%s lags behind: %t: its disk was not full", name, lags)
	}
	empty(t, mount)
	c.until(t, name+" is ready and whole", func() bool {
		return !c.nodes[victim].worried(t) &&
			c.nodes[victim].gauge(t, "weir_journal_newest") >= c.nodes[(victim+1)%3].gauge(t, "weir_journal_newest")
	})
	return fullDebits
}

// withAllFull fills all disks: credits are refused with a hint when to come back, checks are decided.
func (c *cluster) withAllFull(t *testing.T, mounts map[string]string) int {
	t.Helper()
	for _, mount := range mounts {
		fill(t, mount)
	}
	for _, p := range c.nodes {
		c.until(t, p.name+" is full", func() bool { return p.worried(t) })
	}
	refused := 0
	began := time.Now()
	reasons := map[string]int{}
	for i := range 3 {
		if status, after, body := c.rawDebit(t, i, fmt.Sprint("with-all-full-", i)); status != http.StatusServiceUnavailable || after == "" {
			t.Errorf("%s answers a debit with %d, to be repeated after %q: %s", c.nodes[i].name, status, after, body)
		} else {
			refused++
		}
		for n := range 100 {
			d := c.check(t, i, fmt.Sprint("user-", i, "-", n))
			if reasons[d.Verdict+" "+d.Reason]++; d.Verdict != "ALLOW" {
				t.Errorf("%s decides %+v", c.nodes[i].name, d)
			}
		}
	}
	paid := map[string]int{}
	for range 25 { // more than are free
		d := c.check(t, 0, "alice")
		paid[d.Verdict+" "+d.Reason]++
	}
	t.Logf("with all disks full for %v: %d debits refused, checks %v, paid checks %v", time.Since(began).Round(time.Millisecond), refused, reasons, paid)
	if paid["DENY LEDGER_UNAVAILABLE"] == 0 {
		t.Errorf("a check that must be paid is answered %v", paid)
	}
	for _, mount := range mounts {
		empty(t, mount)
	}
	for i := range 3 {
		key := fmt.Sprint("with-all-full-", i)
		c.until(t, "debit "+key, func() bool {
			_, err := c.clients[i].Debit(c.ctx, key, "dana", client.Debit{AmountMicros: 1})
			return err == nil
		})
	}
	if err := c.awaitReady(c.ctx); err != nil {
		t.Fatal(err)
	}
	return 3
}

// rawDebit returns the status of a debit, after which time it says to come back, and what it says.
func (c *cluster) rawDebit(t *testing.T, i int, key string) (status int, after, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "http://"+c.nodes[i].http+"/v1/accounts/dana/debits", strings.NewReader(`{"amount_micros":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("Content-Type", "application/json")
	a, err := c.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header.Get("Retry-After"), string(text)
}

// worried says whether a process says that its disk is full; it should get traffic all the same.
func (p *process) worried(t *testing.T) bool {
	t.Helper()
	a, err := http.Get("http://" + p.http + "/readyz")
	if err != nil {
		t.Fatalf("%s: %v; its log ends:\n%s", p.name, err, p.logTail())
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	full := strings.Contains(string(text), "disk is nearly full")
	if a.StatusCode != http.StatusOK || full != (p.gauge(t, "weir_ledger_disk_full") == 1) {
		t.Logf("%s says %d %s", p.name, a.StatusCode, text)
		return false
	}
	return full
}

// fill takes nearly all the room there is on a file system.
func fill(t *testing.T, dir string) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, ballastFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(s.Bavail)*s.Bsize - ballastLeaves
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		t.Fatalf("take %d bytes: %v", size, err)
	}
}

// empty gives it back.
func empty(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, ballastFile)); err != nil {
		t.Fatal(err)
	}
}
