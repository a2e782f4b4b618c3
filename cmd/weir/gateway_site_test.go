package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
)

const gatewayPolicy = `
version: 1
domains:
  demo:
    account: [user]
    http: {attributes: {user: header X-User, model: header X-Model, route: path, ip: client_ip}}
    limits:
      - {name: all, key: [user], algorithm: fixed_window, limit: 40, window: 3650d}
      - {name: paid, match: {model: dear}, key: [user], algorithm: fixed_window, limit: 1, window: 3650d, spill: true}
      - {name: upload, match: {route: /upload*}, key: [user], algorithm: fixed_window, limit: 1, window: 3650d}
      - {name: elsewhere, match: {ip: "!127.0.0.1"}, key: [user], algorithm: fixed_window, limit: 1, window: 3650d}
    prices: [{per: {requests: 1}}]
`

// addresses returns where the nodes answer HTTP.
func (c *cluster) addresses() []string {
	var all []string
	for _, p := range c.nodes {
		all = append(all, p.http)
	}
	return all
}

func (g *gateway) allows(t *testing.T) {
	r := g.decided(t, "POST", "/chat?x=1", strings.Repeat("long ", 20_000), "X-User", "alice")
	if r.status != 200 || r.reason() != "OK" || len(r.Body) != 100_000 || r.Method != "POST" || r.URI != "/chat?x=1" || r.Header.Get("X-User") != "alice" || r.Header.Get("X-RL-Reason") != "OK" {
		t.Errorf("%d %s, the site got %s %s with %d bytes and %v", r.status, r.reason(), r.Method, r.URI, len(r.Body), r.Header)
	}
	limit, terms := r.header.Values("RateLimit"), r.header.Values("RateLimit-Policy")
	if len(limit) != 1 || !strings.HasPrefix(limit[0], `"all";r=3`) || len(terms) != 1 || !strings.HasPrefix(terms[0], `"all";q=40;w=`) {
		t.Errorf("RateLimit %q, RateLimit-Policy %q", limit, terms)
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		if r := g.decided(t, method, "/", "", "X-User", "methods"); r.status != 200 || r.reason() != "OK" || method != "HEAD" && r.Method != method {
			t.Errorf("%s: %d %s, the site got %s", method, r.status, r.reason(), r.Method)
		}
	}
	if r := g.decided(t, "GET", "/", ""); r.status != 200 || r.reason() != "OK" {
		t.Errorf("nobody: %d %s", r.status, r.reason())
	}
}

// exhaust sends requests until they are refused, and returns the refusal.
func (g *gateway) exhaust(t *testing.T, headers ...string) reply {
	t.Helper()
	for range 100 {
		if r := g.decided(t, "POST", "/chat", "body", headers...); r.status != 200 {
			return r
		}
	}
	t.Fatalf("%v: 100 requests passed", headers)
	return reply{}
}

func (g *gateway) refuses(t *testing.T, c *cluster) {
	if _, err := c.clients[0].OpenAccount(c.ctx, "open", client.Account{ID: "poor", UseCredits: true}); err != nil {
		t.Fatal(err)
	}
	c.weir(t, 1, "block", "mallory", "--why", `Ask "us".`).want(t, exitOK, "blocked")
	for _, row := range []struct {
		headers []string
		status  int
		reason  string
		names   []string
	}{
		{[]string{"X-User", "busy"}, 429, "RATE_LIMITED", []string{"all"}},
		{[]string{"X-User", "poor", "X-Model", "dear"}, 402, "CREDITS_EXHAUSTED", []string{"paid"}},
		{[]string{"X-User", "mallory"}, 403, "BLOCKED", nil},
		{[]string{"X-User", strings.Repeat("a", 300)}, 400, "INVALID", nil},
	} {
		r := g.exhaust(t, row.headers...)
		var p struct {
			Type     string
			Title    string
			Status   int
			Detail   string
			Reason   string
			Violated []string `json:"violated-policies"`
			RetryMS  int64    `json:"retry_after_ms"`
		}
		if err := json.Unmarshal([]byte(r.body), &p); err != nil {
			t.Fatalf("%v: %v in %s", row.headers, err, r.body)
		}
		if r.status != row.status || r.reason() != row.reason || r.header.Get("Content-Type") != "application/problem+json" ||
			p.Status != row.status || p.Reason != row.reason || p.Type == "" || p.Title == "" || p.Detail == "" || !slices.Equal(p.Violated, row.names) {
			t.Errorf("%v: %d %v %+v, want %d %s", row.headers, r.status, r.header, p, row.status, row.reason)
		}
		if row.status == 429 && (r.header.Get("Retry-After") == "" || p.RetryMS <= 0 || !strings.HasPrefix(r.header.Get("RateLimit"), `"all";r=0;t=`) || r.header.Get("RateLimit-Policy") == "") {
			t.Errorf("%v: when to come back is not told: %v %+v", row.headers, r.header, p)
		}
	}
}

// isNotFooled tries what a client, or the site, may try in order to steer or to forge a decision.
func (g *gateway) isNotFooled(t *testing.T) {
	lies := []string{
		"X-RL-Status", "200", "X-RL-Reason", "FORGED", "x-rl-degrade", "model=large", "X_RL_Degrade", "model=large", "X-RL-Problem", "{}",
		"X-Forwarded-Uri", "/", "X-Forwarded-For", "10.9.8.7", "X-Real-Ip", "10.9.8.7", "X-Forwarded-Host", "other",
	}
	for range 2 { // limit elsewhere has room for one
		r := g.decided(t, "GET", "/?user=x&domain=other", "", append([]string{"X-User", "liar"}, lies...)...)
		if r.status != 200 || r.reason() != "OK" || r.header.Get("X-RL-Degrade") != "" || r.header.Get("X-RL-Status") != "" || len(r.header.Values("RateLimit")) != 1 {
			t.Errorf("lies: the client is told %d %v", r.status, r.header)
		}
		for name, values := range r.Header {
			if strings.Contains(strings.ReplaceAll(strings.ToUpper(name), "_", "-"), "X-RL-") && (name != "X-Rl-Reason" || !slices.Equal(values, []string{"OK"})) {
				t.Errorf("lies: the site is told %s: %q", name, values)
			}
		}
	}
	if r := g.exhaust(t, append([]string{"X-User", "busy"}, lies...)...); r.status != 429 || r.reason() != "RATE_LIMITED" {
		t.Errorf("lies past the limit: %d %s", r.status, r.reason())
	}
	for n := 0; !g.countsSpellings(t, fmt.Sprintf("up-%d", n)); n++ {
		if n == 100 {
			t.Fatal("homes do not decide")
		}
	}
}

// countsSpellings has a user ask for one path in four spellings, of which one may pass. It returns false if no home decided
// about one of them, as nobody knows then what was counted.
func (g *gateway) countsSpellings(t *testing.T, user string) bool {
	t.Helper()
	for _, path := range []string{"/upload", "/%75pload/", "//upload?a=/b", "/x/../upload/1"} {
		r := g.send(t, "GET", path, "", "X-User", user)
		if r.undecided() {
			return false
		}
		if (r.status == 200) != (path == "/upload") {
			t.Errorf("%s: %d %s", path, r.status, r.reason())
		}
	}
	return true
}

func (g *gateway) leavesTheSiteAlone(t *testing.T) {
	for _, status := range []int{401, 403, 404, 429, 500, 503} {
		r := g.decided(t, "GET", fmt.Sprintf("/%d", status), "", "X-User", "site")
		if r.status != status || !r.passed || r.reason() != "OK" {
			t.Errorf("the site says %d: %d %s %s", status, r.status, r.reason(), r.body)
		}
	}
}

// goesOnWithout stops all of Weir for a while, as if it hung.
func (g *gateway) goesOnWithout(t *testing.T, c *cluster) {
	t.Helper()
	g.decided(t, "GET", "/", "", "X-User", "before")
	for _, p := range c.nodes {
		if err := p.send(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.send(syscall.SIGCONT) }) // a stopped process cannot end
	}
	for range 100 { // a signal takes a moment to arrive
		start := time.Now()
		if g.send(t, "GET", "/", "", "X-User", "between").reason() == "FAILED_OPEN" {
			t.Logf("the first to wait for Weir in vain: %v", time.Since(start).Round(time.Millisecond))
			break
		}
	}
	for range 5 {
		start := time.Now()
		r := g.send(t, "POST", "/chat", strings.Repeat("long ", 20_000), "X-User", "alice", "X-RL-Reason", "OK")
		took := time.Since(start)
		t.Logf("while Weir hangs: %v", took.Round(time.Millisecond))
		if took > 20*time.Second { // their own deadlines are a minute, and none
			t.Errorf("a hanging Weir held a request up for %v", took)
		}
		if r.status != 200 || !r.passed || len(r.Body) != 100_000 || r.Header.Get("X-RL-Reason") != "FAILED_OPEN" || r.reason() != "FAILED_OPEN" {
			t.Errorf("a hanging Weir: %d %s, the site got %s with %d bytes, %v", r.status, r.reason(), r.Method, len(r.Body), r.Header)
		}
	}
	for _, p := range c.nodes {
		if err := p.send(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if r := g.decided(t, "GET", "/", "", "X-User", "after"); r.status != 200 || r.reason() != "OK" {
		t.Errorf("once it goes on: %d %s", r.status, r.reason())
	}
}
