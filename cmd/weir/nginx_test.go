package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startNginx runs nginx with the files of deploy/nginx, of which only the addresses are changed. It asks the nodes in
// turn or, with first >= 0, that one while it answers.
func startNginx(t *testing.T, site string, nodes []string, first int) *gateway {
	t.Helper()
	program := gatewayProgram(t, "nginx", "nginx-light")
	dir, addr, change := t.TempDir(), freeAddress(t), []string(nil)
	for i, node := range nodes {
		const tail = " max_fails=1 fail_timeout=2s"
		spare := ""
		if first >= 0 && i != first {
			spare = " backup"
		}
		change = append(change, "server "+loopback(8080+i)+tail+";", "server "+node+tail+spare+";")
	}
	change = append(change, "listen 127.0.0.1:8000;", "listen "+addr+";", "server 127.0.0.1:9000;", "server "+site+";")
	deployed(t, dir, "nginx/weir.conf", change...)
	deployed(t, dir, "nginx/nginx.conf")
	globals := "daemon off;"
	if os.Getuid() == 0 {
		globals += " user root;" // the folder is nobody else's
	}
	return startGateway(t, dir, addr, program, "-p", dir, "-c", "nginx.conf", "-e", "error.log", "-g", globals)
}

func TestNginxTurnsEveryAnswerOfWeirIntoOneForItsClient(t *testing.T) {
	t.Parallel()
	weir := httptest.NewServer(http.HandlerFunc(scriptedWeir))
	defer weir.Close()
	addr := strings.TrimPrefix(weir.URL, "http://")
	g := startNginx(t, startSite(t), []string{addr, addr, addr}, -1)
	for _, c := range []struct {
		answer string // of Weir, as scriptedWeir knows it
		status int
		passed bool
		told   string // X-RL-Reason, at the client and at the site if it passed
	}{
		{"200", 200, true, "TOLD"},
		{"403 429", 429, false, "TOLD"},
		{"403 402", 402, false, "TOLD"},
		{"403 403", 403, false, "TOLD"},
		{"403 503", 503, false, "TOLD"},
		{"403 400", 400, false, "TOLD"},
		{"400", 400, false, "INVALID"}, // of Go's own server: it could not read the request
		{"404", 400, false, "INVALID"},
		{"431", 400, false, "INVALID"},
		{"500", 200, true, "FAILED_OPEN"},
		{"503 503", 200, true, "FAILED_OPEN"},
		{"hangs", 200, true, "FAILED_OPEN"},
	} {
		var r reply
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(readyPause) {
			if r = g.send(t, "POST", "/a?b=c", "body", "X-User", c.answer); r.reason() == c.told {
				break // a busy machine may time out before
			}
		}
		if r.status != c.status || r.passed != c.passed || r.reason() != c.told {
			t.Errorf("Weir says %s: %d %s, passed %t, want %d %s, %t; %s", c.answer, r.status, r.reason(), r.passed, c.status, c.told, c.passed, r.body)
		}
		degrade := ""
		if c.answer == "200" {
			degrade = "model=small"
		}
		if got := r.header.Get("X-RL-Degrade"); got != degrade {
			t.Errorf("Weir says %s: the client is told to go on with %q, want %q", c.answer, got, degrade)
		}
		switch {
		case c.passed && (r.Header.Get("X-RL-Reason") != c.told || r.Header.Get("X-RL-Degrade") != degrade || r.Body != "body" || r.Method != "POST" || r.URI != "/a?b=c"):
			t.Errorf("Weir says %s: the site got %+v", c.answer, r.arrival)
		case c.told == "TOLD" && !c.passed && (r.body != `{"it":"is so"}` || r.header.Get("Content-Type") != "application/problem+json" || r.header.Get("Retry-After") != "7"):
			t.Errorf("Weir says %s: the client got %v %s", c.answer, r.header, r.body)
		}
	}
}

// scriptedWeir answers as X-User says: status and X-RL-Status. It holds what reaches it to what may.
func scriptedWeir(w http.ResponseWriter, r *http.Request) {
	script := r.Header.Get("X-User")
	if script == "hangs" {
		<-r.Context().Done()
		return
	}
	var status, truth int
	_, _ = fmt.Sscan(script, &status, &truth)
	if r.URL.String() != "/v1/auth/nginx/demo" || r.ContentLength != 0 || r.Header.Get("X-Original-Uri") != "/a?b=c" || r.Header.Get("X-Original-Method") != "POST" ||
		r.Header.Get("X-Forwarded-For") != "127.0.0.1" || r.Header.Get("User-Agent") != "" {
		status = http.StatusTeapot
	}
	w.Header().Set("X-RL-Reason", "TOLD")
	switch {
	case status == http.StatusOK:
		w.Header().Set("X-RL-Degrade", "model=small")
	case truth != 0:
		w.Header().Set("X-RL-Status", fmt.Sprint(truth))
		w.Header().Set("X-RL-Problem", `{"it":"is so"}`)
		w.Header().Set("Retry-After", "7")
	}
	w.WriteHeader(status)
}

func TestASiteBehindNginxIsLimitedByWeir(t *testing.T) {
	t.Parallel()
	gatewayProgram(t, "nginx", "nginx-light")
	c := startCluster(t, 3, "--policy", file(t, "nginx.yaml", gatewayPolicy))
	g := startNginx(t, startSite(t), c.addresses(), -1)
	t.Run("allowed", func(t *testing.T) { g.allows(t) })
	t.Run("refused", func(t *testing.T) { g.refuses(t, c) })
	t.Run("not forged", func(t *testing.T) { g.isNotFooled(t) })
	t.Run("nor confused", func(t *testing.T) { g.isNotConfused(t) })
	t.Run("the site's own", func(t *testing.T) { g.leavesTheSiteAlone(t) })
}

// isNotConfused sends what nginx and Weir might read in different ways.
func (g *gateway) isNotConfused(t *testing.T) {
	for range 3 { // the first is always taken, by both
		if r := g.decided(t, "GET", "/", "", "X-User", "twin", "X-User", "other"); r.status != 200 || !slices.Equal(r.Header["X-User"], []string{"twin"}) {
			t.Errorf("two users: %d, the site got %v", r.status, r.Header)
		}
	}
	cookies := strings.Repeat("c", 7500)
	if r := g.decided(t, "GET", "/", "", "X-User", "cookies", "Cookie", cookies, "A", cookies, "B", cookies); r.status != 200 || r.reason() != "OK" || r.Header.Get("A") != cookies {
		t.Errorf("22 kB of headers: %d %s", r.status, r.reason())
	}
	for range 20 { // what Weir's own server cannot read does not pass, either
		if got := g.raw(t, "GET / HTTP/1.1\r\nHost: x\r\nX-User: a\x01b\r\nConnection: close\r\n\r\n"); strings.Contains(got, " 400 ") {
			return
		} else if !strings.Contains(got, " 200 ") {
			t.Fatalf("a control character: %s", got)
		}
		time.Sleep(readyPause) // nginx had timed out before
	}
	t.Error("a control character in X-User: the request passes")
}

// raw sends bytes that no HTTP client would and returns the first line of the answer.
func (g *gateway) raw(t *testing.T, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// Whichever nginx is asked, and whichever node it asks, one home counts.
func TestThreeNginxOnThreeNodesShareOneLimitExactly(t *testing.T) {
	t.Parallel()
	gatewayProgram(t, "nginx", "nginx-light")
	c := startCluster(t, 3, "--policy", file(t, "nginx.yaml", gatewayPolicy))
	site := startSite(t)
	var all []*gateway
	for i := range 3 {
		all = append(all, startNginx(t, site, c.addresses(), i))
	}
	const limit, rounds = 40, 5
	for clean, round := 0, 0; clean < rounds; round++ {
		if c.ctx.Err() != nil {
			t.Fatalf("%d of %d rounds in which homes decided every request", clean, round)
		}
		var admitted, undecided atomic.Int64
		var clients sync.WaitGroup
		for i := range 12 {
			clients.Go(func() {
				for range 10 {
					switch r := all[i%3].send(t, "GET", "/", "", "X-User", fmt.Sprintf("user-%d", round)); {
					case r.undecided():
						undecided.Add(1)
					case r.status == 200 && r.Header.Get("X-RL-Reason") == "OK":
						admitted.Add(1)
					case r.status != 429 || r.passed:
						t.Errorf("round %d: %d %s", round, r.status, r.reason())
					}
				}
			})
		}
		clients.Wait()
		switch n := undecided.Load(); {
		case admitted.Load() > limit || n == 0 && admitted.Load() != limit:
			t.Fatalf("round %d: %d of 120 requests were admitted, want %d", round, admitted.Load(), limit)
		case n == 0:
			clean++
		default:
			t.Logf("round %d: %d requests were not decided in time, %d admitted; again", round, n, admitted.Load())
		}
	}
	for i, g := range all {
		text, err := os.ReadFile(filepath.Join(g.dir, "access.log"))
		if err != nil || !strings.Contains(string(text), `"`+c.nodes[i].http+`" "200"`) || !strings.Contains(string(text), `"`+c.nodes[i].http+`" "403"`) {
			t.Errorf("nginx %d did not ask %s, %v", i, c.nodes[i].name, err)
		}
	}
}

// While Weir is out of order the site stays open, whole and marked; nginx waits for it no longer than it says.
func TestASiteBehindNginxGoesOnWithoutWeir(t *testing.T) {
	t.Parallel()
	gatewayProgram(t, "nginx", "nginx-light")
	c := startCluster(t, 3, "--policy", file(t, "nginx.yaml", gatewayPolicy))
	g := startNginx(t, startSite(t), c.addresses(), -1)
	g.goesOnWithout(t, c)
}

func TestASiteBehindNginxGoesOnWhenANodeIsKilled(t *testing.T) {
	t.Parallel()
	gatewayProgram(t, "nginx", "nginx-light")
	c := startCluster(t, 3, "--policy", file(t, "nginx.yaml", gatewayPolicy))
	g := startNginx(t, startSite(t), c.addresses(), -1)
	var sent, open, shared atomic.Int64
	var stop atomic.Bool
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := 0; !stop.Load(); n++ {
				r := g.send(t, "POST", "/chat", "body", "X-User", fmt.Sprintf("user-%d-%d", i, n))
				if r.status != 200 || !r.passed || r.Body != "body" {
					t.Errorf("request %d: %d %s %s", n, r.status, r.reason(), r.body)
					return
				}
				sent.Add(1)
				if r.reason() == "FAILED_OPEN" {
					open.Add(1)
				} else if r.undecided() {
					shared.Add(1)
				}
			}
		})
	}
	pass := func(n int64) {
		for from := sent.Load(); sent.Load() < from+n && c.ctx.Err() == nil && !t.Failed(); {
			time.Sleep(readyPause)
		}
	}
	pass(200)
	if err := c.nodes[1].kill(); err != nil {
		t.Error(err)
	}
	pass(1000)
	stop.Store(true)
	clients.Wait()
	if c.ctx.Err() != nil {
		t.Error("the site stood still")
	}
	t.Logf("%d requests passed, %d of them by a node's share, %d because nginx opened", sent.Load(), shared.Load(), open.Load())
	for i := range 20 { // some of whom the dead node was the home; what its deputy admits meanwhile counts, so each is asked about once
		for n := 0; ; n++ {
			r := g.send(t, "GET", "/", "", "X-User", fmt.Sprintf("later-%d-%d", i, n))
			if r.status != 200 || c.ctx.Err() != nil {
				t.Fatalf("later: %d %s", r.status, r.reason())
			}
			if r.reason() == "OK" {
				break
			}
			time.Sleep(readyPause)
		}
	}
}
