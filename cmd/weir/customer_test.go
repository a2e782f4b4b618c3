package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
)

// effectTime is how long a change for one customer may take to hold on every node.
const effectTime = time.Second

// within polls until every node says yes, and fails when that takes longer than effectTime. It returns the time.
func (c *cluster) within(t *testing.T, what string, since time.Time, yes func(i int) bool) time.Duration {
	t.Helper()
	for i, p := range c.nodes {
		for !yes(i) {
			if time.Since(since) > effectTime {
				t.Errorf("%s: not on %s after %v", what, p.name, effectTime)
				return time.Since(since)
			}
			time.Sleep(5 * time.Millisecond) // real processes: nothing to wait on but their answers
		}
	}
	took := time.Since(since)
	t.Logf("%s: on every node after %v", what, took.Round(time.Millisecond))
	return took
}

// userAt returns a user of the demo domain whose home is node i.
func (c *cluster) userAt(t *testing.T, i int, prefix string) string {
	t.Helper()
	v, err := c.clients[0].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		user := fmt.Sprint(prefix, n)
		if home := v.Place("demo", user).Home; home != nil && home.Name == c.nodes[i].name {
			return user
		}
	}
	t.Fatalf("none of 1000 users has its home at %s", c.nodes[i].name)
	return ""
}

// beside counts what node i itself, whoever is home, knows to hold for a user beside the policy.
func (c *cluster) beside(t *testing.T, i int, user string) int {
	t.Helper()
	known, err := c.clients[i].Special(c.ctx, "demo", user)
	if err != nil {
		t.Fatal(err)
	}
	return len(known.Overrides) + len(known.Blocks)
}

// version is the policy that node i itself is at.
func (c *cluster) version(t *testing.T, i int) uint64 {
	t.Helper()
	v, err := c.clients[i].View(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return v.PolicyVersion
}

// limit is how the demo's limit on requests stands for a user.
func (c *cluster) limit(t *testing.T, i int, user string) client.Limit {
	t.Helper()
	all, err := c.clients[i].Limits(c.ctx, "demo", user, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all.Limits {
		if l.Name == "user-rpm" {
			return l
		}
	}
	t.Fatalf("no user-rpm among %+v", all.Limits)
	return client.Limit{}
}

func TestAnOverrideHoldsOnEveryNodeWithinASecond(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	for home := range c.nodes { // asked at one node, decided at each in turn
		user := c.userAt(t, home, "vip")
		if l := c.limit(t, 0, user); l.Limit != 60 || l.Overridden {
			t.Fatalf("before: %+v, want 60 as the policy says", l)
		}
		since := time.Now()
		c.weir(t, 0, "override", "set", user, "user-rpm", "rate=600/min", "burst=200", "--for", "1h").
			want(t, exitOK, "user-rpm of "+user+" in demo is overridden until ", "revision")
		c.within(t, "override of an account whose home is "+c.nodes[home].name, since, func(i int) bool {
			return c.beside(t, i, user) == 1 && c.limit(t, i, user).Limit == 600
		})
		d := c.check(t, 1, user)
		if l := d.Limits[0]; l.Name != "user-rpm" || !l.Overridden || l.Limit != 600 || l.Remaining < 190 {
			t.Errorf("a decision under the override: %+v, want it named, 600 and most of 200 left", d.Limits)
		}
		c.weir(t, 2, "limits", user).want(t, exitOK, "user-rpm", "600", "overridden", "home "+c.nodes[home].name)
		c.weir(t, 1, "override", "list", user).want(t, exitOK, user, "rate=600/min burst=200")
		since = time.Now()
		c.weir(t, 1, "override", "unset", user, "user-rpm").want(t, exitOK, "as the policy says")
		c.within(t, "its end", since, func(i int) bool { return c.beside(t, i, user) == 0 && c.limit(t, i, user).Limit == 60 })
	}
	c.weir(t, 0, "override", "set", "vip", "user-rmp", "rate=600/min").want(t, exitFailed, "not changed", "status 400", "user-rpm")
	c.weir(t, 0, "override", "set", "vip", "user-rpm", "limit=5").want(t, exitFailed, "status 400", "rate or burst")
	c.weir(t, 0, "override", "set", "vip", "user-rpm", "rate=5/s", "--until", "2020-01-01T00:00:00Z").want(t, exitFailed, "status 400")
}

func TestABlockHoldsOnEveryNodeAndEnds(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	user := c.userAt(t, 1, "mallory")
	c.weir(t, 0, "override", "list", "--domain", "dmeo").want(t, exitFailed, "status 400", "did you mean `demo`?")
	c.weir(t, 0, "home", user, "--domain", "dmeo").want(t, exitFailed, "did you mean `demo`?")
	since := time.Now()
	c.weir(t, 0, "block", user, "--why", "Ask the support team.").want(t, exitOK, user+" in demo is blocked")
	c.within(t, "block", since, func(i int) bool { return c.beside(t, i, user) == 1 && c.check(t, i, user).Reason == "BLOCKED" })
	d := c.check(t, 2, user)
	if d.Status != 403 || d.Verdict != "DENY" || !strings.Contains(d.Message, "Ask the support team.") {
		t.Errorf("a check of who is blocked: %+v, want 403 that says why", d)
	}
	c.weir(t, 2, "check", "user="+user).want(t, exitDenied, "BLOCKED")
	c.weir(t, 2, "limits", user).want(t, exitOK, "blocked: Ask the support team.")
	since = time.Now()
	c.weir(t, 1, "unblock", user).want(t, exitOK, "is not blocked")
	c.within(t, "its end", since, func(i int) bool { return c.beside(t, i, user) == 0 && c.check(t, i, user).Reason == "OK" })

	since = time.Now()
	c.weir(t, 2, "block", user, "--for", "3s").want(t, exitOK, "is blocked until ")
	c.within(t, "block for 3 s", since, func(i int) bool { return c.check(t, i, user).Reason == "BLOCKED" })
	for c.check(t, 0, user).Reason == "BLOCKED" {
		if time.Since(since) > 10*time.Second {
			t.Fatal("a block for 3 s has not ended after 10 s")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(since); took < 2*time.Second { // its end is told in whole seconds
		t.Errorf("a block for 3 s ended after %v", took)
	}
}

func TestAResetStartsAfresh(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	user := c.userAt(t, 2, "busy")
	for range 2 {
		for range 20 {
			c.check(t, 0, user)
		}
		if d := c.check(t, 1, user); d.Reason != "RATE_LIMITED" || d.Status != 429 {
			t.Fatalf("after 20 of a burst of 20: %+v", d)
		}
		since := time.Now()
		c.weir(t, 1, "reset", user, "user-rpm").want(t, exitOK, "user-rpm of "+user+" in demo starts afresh")
		c.within(t, "reset", since, func(i int) bool { return c.limit(t, i, user).Remaining == 20 })
	}
	c.weir(t, 0, "reset", user).want(t, exitOK, "every limit of "+user)
	c.weir(t, 0, "reset", user, "user-rmp").want(t, exitFailed, "status 400", "user-rpm")
}

func TestPoliciesRollBackAndNobodysChangeIsLost(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	text, version, err := c.clients[0].PolicyText(c.ctx)
	if err != nil || version != 1 {
		t.Fatalf("version %d, %v", version, err)
	}
	next := file(t, "next.yaml", strings.Replace(string(text), "rate: 60/min", "rate: 30/min", 1))
	c.weir(t, 1, "policy", "diff", next).want(t, exitDenied, "user-rpm", "rate")
	c.weir(t, 1, "policy", "apply", next, "--if-match", "1", "--note", "half", "--wait", "30s").want(t, exitOK, "in force as version 2")
	for i, p := range c.nodes { // at once: apply has waited
		if l := c.limit(t, i, "alice"); c.version(t, i) != 2 || l.Limit != 30 {
			t.Errorf("after apply %s is at version %d and has the limit %d, want 2 and 30", p.name, c.version(t, i), l.Limit)
		}
	}
	c.weir(t, 2, "policy", "apply", next, "--if-match", "2").want(t, exitOK, "version 2") // nothing to change
	c.weir(t, 2, "policy", "diff", next).want(t, exitOK, "nothing would change")
	c.weir(t, 2, "policy", "apply", file(t, "other.yaml", string(text)), "--if-match", "1").want(t, exitFailed, "status 412", "another version")
	c.weir(t, 0, "policy", "rollback", "1", "--if-match", "1").want(t, exitFailed, "status 412")
	since := time.Now()
	c.weir(t, 0, "policy", "rollback", "1", "--wait", "0s").want(t, exitOK, "the text of version 1 is in force as version 3")
	c.within(t, "rollback", since, func(i int) bool { return c.version(t, i) == 3 && c.limit(t, i, "alice").Limit == 60 })
	c.weir(t, 0, "policy", "rollback", "9").want(t, exitFailed, "roll back to version 9", "not remembered")
	c.weir(t, 2, "policy", "history").want(t, exitOK, "VERSION", "half", "rollback to version 1")
	var all []rest.PolicyVersion
	if err := json.Unmarshal([]byte(c.weir(t, 1, "policy", "history", "-o", "json").out), &all); err != nil || len(all) != 3 ||
		all[0].Version != 3 || all[0].Hash != all[2].Hash || all[1].Note != "half" || all[0].At.IsZero() {
		t.Errorf("history %+v, %v", all, err)
	}
	if o := c.weir(t, 1, "policy", "show", "--version", "2"); !strings.Contains(o.out, "rate: 30/min") || o.code != exitOK {
		t.Errorf("version 2: %+v", o)
	}
	c.weir(t, 1, "policy", "show", "--version", "9").want(t, exitFailed, "status 404")
}
