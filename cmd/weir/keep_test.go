package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

// until repeats until something holds, while the cluster's time lasts.
func (c *cluster) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		if c.ctx.Err() != nil {
			t.Fatalf("it did not come about: %s", what)
		}
		time.Sleep(50 * time.Millisecond) // real processes: nothing to wait on but their answers
	}
}

// member returns what node i says of a member.
func (c *cluster) member(t *testing.T, i int, name string) client.Member {
	t.Helper()
	v, err := c.clients[i].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if at := slices.IndexFunc(v.Members, func(m client.Member) bool { return m.Name == name }); at >= 0 {
		return v.Members[at]
	}
	return client.Member{}
}

// fund opens an account with some credit.
func (c *cluster) fund(t *testing.T, i int, account string, micros int64) {
	t.Helper()
	if _, err := c.clients[i].OpenAccount(c.ctx, "open-"+account, client.Account{ID: account, UseCredits: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.clients[i].Grant(c.ctx, "grant-"+account, account, client.Grant{Kind: "credit", AmountMicros: micros}); err != nil {
		t.Fatal(err)
	}
}

// balance asks node i until it answers.
func (c *cluster) balance(t *testing.T, i int, account string) int64 {
	t.Helper()
	var micros int64
	c.until(t, "a balance of "+account, func() bool {
		a, err := c.clients[i].Account(c.ctx, account)
		micros = a.BalanceMicros
		return err == nil
	})
	return micros
}

func TestMembersTellHowTheyStandAndAreRemovedWhenTheyAreGone(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader(t)
	for _, p := range c.nodes {
		c.until(t, "the leader knows all of "+p.name, func() bool {
			m := c.member(t, leader, p.name)
			return m.LeaseLeftMS != nil && *m.LeaseLeftMS > 0 && *m.LeaseLeftMS <= 2000 && m.Epoch > 0 && m.Version != "" && m.Weight == 1 && m.State() == "steady"
		})
	}
	follower := (leader + 1) % 3
	if own, other := c.member(t, follower, c.nodes[follower].name), c.member(t, follower, c.nodes[(follower+1)%3].name); own.LeaseLeftMS == nil || other.LeaseLeftMS != nil {
		t.Errorf("a node that does not lead knows its own lease, not another's: %+v, %+v", own, other)
	}
	c.weir(t, follower, "home", "alice").want(t, exitOK, "home", "deputy", "since 1")
	c.weir(t, follower, "members").want(t, exitOK, "leader", "steady", c.nodes[0].name)

	victim := (leader + 2) % 3
	name := c.nodes[victim].name
	c.weir(t, follower, "members", "remove", name).want(t, exitFailed, "not removed", name+" is running")
	c.weir(t, follower, "members", "remove", "n9").want(t, exitFailed, "nothing to remove", "n9 is not in the roster")
	if err := c.nodes[victim].kill(); err != nil {
		t.Fatal(err)
	}
	c.until(t, name+" is absent", func() bool { return c.member(t, follower, name).Standing == "absent" })
	c.until(t, name+" is off", func() bool {
		return c.weir(t, follower, "members", "remove", name).code == exitOK || c.member(t, follower, name).Name == ""
	})
	c.until(t, "everyone knows", func() bool { return c.member(t, leader, name).Name+c.member(t, follower, name).Name == "" })
	c.weir(t, leader, "members", "remove", name).want(t, exitFailed, "nothing to remove")
	if err := c.nodes[victim].start(); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[victim].awaitReady(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.until(t, name+" is back", func() bool { return c.member(t, follower, name).State() == "steady" })
}

// dir is the data directory of a process.
func (p *process) dir() string { return p.args[slices.Index(p.args, "--data-dir")+1] }

// set gives a process another value of a flag that it has, for its next start.
func (p *process) set(flag, value string) { p.args[slices.Index(p.args, flag)+1] = value }

// again starts processes and returns when they are ready.
func (c *cluster) again(t *testing.T, all ...*process) {
	t.Helper()
	for _, p := range all {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range all {
		if err := p.awaitReady(c.ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// endAll kills processes.
func endAll(t *testing.T, all ...*process) {
	t.Helper()
	for _, p := range all {
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneSurvivorGoesOnAndOldVotersDoNoHarm(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.fund(t, 0, "acme", 10_000_000)
	if _, err := c.clients[1].Debit(c.ctx, "once", "acme", client.Debit{AmountMicros: 3_000_000}); err != nil {
		t.Fatal(err)
	}
	survivor, lost := c.nodes[2], c.nodes[:2]
	weir(t, "ledger", "recover", "--data-dir", survivor.dir(), "--yes").want(t, exitFailed, "in use", "stop the node first")
	endAll(t, c.nodes...)
	for _, p := range lost {
		old := p.dir() + "-old"
		if err := os.Rename(p.dir(), old); err != nil {
			t.Fatal(err)
		}
	}
	weir(t, "ledger", "recover", "--data-dir", lost[0].dir()).want(t, exitFailed, "not needed", "holds no Raft log")
	weir(t, "ledger", "recover", "--data-dir", survivor.dir()).want(t, exitUsage, "would", "only voter", "n1, n2", "nothing was changed")
	weir(t, "ledger", "recover", "--data-dir", survivor.dir(), "--yes").want(t, exitOK, "done", "n3 is the only voter of generation")
	weir(t, "ledger", "recover", "--data-dir", survivor.dir(), "--yes").want(t, exitFailed, "not needed", "--force")
	c.again(t, survivor)
	if got := c.balance(t, 2, "acme"); got != 7_000_000 {
		t.Errorf("the survivor has %d, want 7000000", got)
	}
	r, err := c.clients[2].Debit(c.ctx, "once", "acme", client.Debit{AmountMicros: 3_000_000})
	if err != nil || !r.Replayed || r.BalanceAfterMicros != 7_000_000 {
		t.Errorf("a repetition: %+v, %v", r, err)
	}
	c.oldVotersAreNotHeard(t, lost)
	c.again(t, lost...) // with new disks
	c.until(t, "three voters", func() bool {
		return c.member(t, 2, "n1").Voter && c.member(t, 2, "n2").Voter && c.member(t, 2, "n3").Voter
	})
	endAll(t, survivor)
	if got := c.balance(t, 0, "acme"); got != 6_000_000 {
		t.Errorf("without the survivor the new voters have %d, want 6000000", got)
	}
}

// oldVotersAreNotHeard has both old voters come back for a while, with their disks and at the old addresses: together they have
// the quorum of the old generation, and they must neither be heard by n3 nor hear it.
func (c *cluster) oldVotersAreNotHeard(t *testing.T, lost []*process) {
	t.Helper()
	for _, p := range lost {
		p.set("--data-dir", p.dir()+"-old")
	}
	c.again(t, lost...)
	if _, err := c.clients[2].Debit(c.ctx, "second", "acme", client.Debit{AmountMicros: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	if got := c.balance(t, 2, "acme"); got != 6_000_000 {
		t.Errorf("after the old voters came the survivor has %d, want 6000000", got)
	}
	if a, b := c.member(t, 2, "n1"), c.member(t, 2, "n2"); a.Alive || b.Alive || a.Standing != "absent" || b.Standing != "absent" {
		t.Errorf("the survivor goes by %+v and %+v", a, b)
	}
	endAll(t, lost...)
	for _, p := range lost {
		p.set("--data-dir", strings.TrimSuffix(p.dir(), "-old"))
	}
}

func TestABackupBeginsANewCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.fund(t, 0, "acme", 10_000_000)
	dir := t.TempDir()
	path, data := filepath.Join(dir, "weir.backup"), filepath.Join(dir, "n1")
	follower := (c.leader(t) + 1) % 3
	c.weir(t, follower, "ledger", "snapshot", path).want(t, exitOK, path, "checked", "cluster ")
	c.weir(t, follower, "ledger", "snapshot", path).want(t, exitUsage, "exists")
	if _, err := c.clients[1].Debit(c.ctx, "later", "acme", client.Debit{AmountMicros: 3_000_000}); err != nil {
		t.Fatal(err)
	}
	endAll(t, c.nodes...)
	restoreRefusesWhatItShould(t, path, data)
	weir(t, "ledger", "restore", path, "--data-dir", data, "--name", "n1").want(t, exitOK, "as of index", "weir serve --name n1")

	// The first node runs alone where n1 of the old cluster did; an old voter that is told to join it is not heard.
	first, old, second := c.nodes[0], c.nodes[1], c.nodes[2]
	for _, p := range c.nodes {
		p.set("--bootstrap-expect", "0")
	}
	first.set("--data-dir", data)
	first.set("--join", "")
	second.set("--data-dir", filepath.Join(dir, "n3"))
	second.set("--join", first.args[slices.Index(first.args, "--gossip-addr")+1])
	if err := old.start(); err != nil {
		t.Fatal(err)
	}
	c.again(t, first)
	time.Sleep(5 * time.Second) // for the old voter to be heard, if it were
	if m := c.member(t, 0, old.name); m.Name != "" {
		t.Errorf("the new cluster goes by a voter of the old one: %+v", m)
	}
	endAll(t, old)
	c.again(t, second)
	if a, b := c.balance(t, 0, "acme"), c.balance(t, 2, "acme"); a != 10_000_000 || b != 10_000_000 {
		t.Errorf("the new cluster has %d and %d, want 10000000 as at the backup", a, b)
	}
	if d := c.check(t, 2, "alice"); d.PolicyVersion == 0 {
		t.Errorf("it decides without the policy: %+v", d)
	}
}

func restoreRefusesWhatItShould(t *testing.T, path, data string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	restore := func(name, text string) outcome {
		return weir(t, "ledger", "restore", file(t, name, text), "--data-dir", data, "--name", "n1")
	}
	text[len(text)/2] ^= 1
	restore("bad.backup", string(text)).want(t, exitFailed, "not restored", "changed or cut short")
	text[len(text)/2] ^= 1
	text[7]++
	restore("new.backup", string(text)).want(t, exitFailed, "newer version")
	if _, err := os.Stat(data); err == nil {
		t.Error("a restore that was refused has left a directory")
	}
	weir(t, "ledger", "restore", path, "--data-dir", filepath.Dir(path), "--name", "n1").want(t, exitFailed, "not empty")
}

func TestASecondSignalEndsANodeAtOnceAndOneNodesTroubleIsItsOwn(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--drain-timeout", "5s")
	leader := c.leader(t)
	stopped, asked := c.nodes[leader], c.nodes[(leader+1)%3]
	stop := make(chan struct{})
	watched := make(chan error, 1)
	go func() { // a node is lost: the others stay ready all the time
		for {
			select {
			case <-stop:
				watched <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			if p := c.nodes[(leader+2)%3]; !p.ready(c.ctx) {
				watched <- fmt.Errorf("%s is not ready", p.name)
				return
			}
		}
	}()
	if err := stopped.send(syscall.SIGSTOP); err != nil { // it hands nothing over, and nobody plans a view
		t.Fatal(err)
	}
	if err := asked.send(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.until(t, "it says that it stops", func() bool { return strings.Contains(asked.logTail(), "msg=stopping") })
	if asked.ready(c.ctx) {
		t.Error("a node that stops is ready")
	}
	select {
	case <-asked.ended:
		t.Log("it had handed over before the second signal")
	case <-time.After(100 * time.Millisecond):
		began := time.Now()
		if err := asked.send(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-asked.ended
		if took := time.Since(began); took > 2*time.Second || asked.failure == nil {
			t.Errorf("the second signal ended it after %v with %v, want at once and not with success", took, asked.failure)
		}
	}
	close(stop)
	if err := <-watched; err != nil {
		t.Error(err)
	}
	if err := stopped.send(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
