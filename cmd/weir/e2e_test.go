package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/client"
	"github.com/weir-cluster/weir/client/rest"
	"github.com/weir-cluster/weir/policy"
)

const clusterTimeMax = 3 * time.Minute // of a cluster in a test; it forms in a few seconds

// clusterTime is longer for drills, each of which may take half a minute.
func clusterTime() time.Duration { return clusterTimeMax + time.Duration(drills())*30*time.Second }

// TestMain makes the test binary the program itself when it is called like it, so that the processes of a
// cluster are real, are what is tested, and look for races when the tests do.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		main()
	}
	os.Exit(m.Run())
}

// cluster is a fleet of processes that a test may hurt. It is gone when the test is.
type cluster struct {
	*fleet
	ctx     context.Context // ends before the test's own deadline
	web     *http.Client    // holds what the nodes answer to api/openapi.yaml
	clients []*rest.Client
}

// startCluster starts n `weir serve` with the demo policy and returns once all can decide.
func startCluster(t *testing.T, n int, extra ...string) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterTime())
	extra = append([]string{"--policy", file(t, "demo.yaml", string(policy.Demo()))}, extra...)
	f, err := startFleet(ctx, exe, t.TempDir(), n, extra...)
	t.Cleanup(func() {
		cancel() // first: processes that the test started again end with ctx, not with the fleet
		f.end()
		for _, p := range f.nodes {
			if t.Failed() {
				t.Logf("the log of %s ends:\n%s", p.name, p.logTail())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.awaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	wires := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(wires.CloseIdleConnections)
	c := &cluster{fleet: f, ctx: ctx, web: &http.Client{Transport: judged(t, wires)}}
	for _, p := range f.nodes {
		one, err := rest.New(rest.Config{Addr: p.http, HTTPClient: c.web})
		if err != nil {
			t.Fatal(err)
		}
		c.clients = append(c.clients, one)
	}
	return c
}

// weir runs a command against node i, through a proxy that holds what the node answers to api/openapi.yaml.
func (c *cluster) weir(t *testing.T, i int, args ...string) outcome {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.nodes[i].http})
	proxy.Transport = c.web.Transport
	s := httptest.NewServer(proxy)
	defer s.Close()
	return weir(t, append(args, "--addr", s.URL)...)
}

// check asks node i about a user of the demo domain.
func (c *cluster) check(t *testing.T, i int, user string) client.Decision {
	t.Helper()
	d, err := c.clients[i].Check(c.ctx, client.CheckRequest{Domain: "demo", Attributes: map[string]string{"user": user}})
	if err != nil {
		t.Fatalf("%s about %s: %v", c.nodes[i].name, user, err)
	}
	return d
}

func TestThreeProcessesFormOneClusterWithOneHomeForAnAccount(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	homes := map[string]bool{}
	for _, user := range []string{"alice", "bob", "carol", "dave", "erin", "frank"} {
		home := c.check(t, 0, user).Home
		homes[home] = true
		for i, p := range c.nodes {
			v, err := c.clients[i].View(c.ctx)
			if err != nil {
				t.Fatal(err)
			}
			if place := v.Place("demo", user); place.Home == nil || place.Home.Name != home {
				t.Errorf("the view of %s names the home of %s as %+v, %s decided", p.name, user, place.Home, home)
			}
			left := int64(20 - 2 - i) // of user-rpm: one check before, one from each node so far
			d := c.check(t, i, user)
			if d.Home != home || d.Verdict != "ALLOW" || d.Epoch == 0 || d.PolicyVersion == 0 {
				t.Errorf("%s about %s: %+v, want ALLOW by %s", p.name, user, d, home)
			}
			for _, l := range d.Limits {
				if l.Name == "user-rpm" && (l.Remaining < left || l.Remaining > left+2) {
					t.Errorf("%s about %s: %d left of the burst, want %d and what time gave back", p.name, user, l.Remaining, left)
				}
			}
		}
	}
	if len(homes) < 2 {
		t.Errorf("six accounts have the homes %v, want them spread", homes)
	}
}

func TestProcessesStopGracefullyAndStartAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	p := c.nodes[2]
	if err := p.terminate(); err != nil {
		t.Fatal(err)
	}
	c.check(t, 0, "alice")
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	if err := p.awaitReady(c.ctx); err != nil {
		t.Fatal(err)
	}
	c.check(t, 2, "alice")
}

// devUser watches what `weir dev` prints; once it is ready it opens an account, and presses Ctrl-C.
type devUser struct {
	bytes.Buffer
	t      *testing.T
	addr   string // of one node
	ctrlC  context.CancelFunc
	answer outcome
}

func (u *devUser) Write(text []byte) (int, error) {
	n, err := u.Buffer.Write(text)
	if strings.Contains(u.String(), "Ctrl-C stops") {
		u.answer = weir(u.t, "credits", "open", "alice", "--key", "once", "--addr", u.addr)
		u.ctrlC()
	}
	return n, err
}

// Not parallel, for the reason given at TestDevNamesTheFlagOfAPortInUse.
func TestDevRunsThreeNodesUntilCtrlC(t *testing.T) {
	if testing.Short() {
		t.Skip("starts nodes")
	}
	ports, held, err := freePorts(4 * devNodes)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTimeMax)
	defer cancel()
	u := &devUser{t: t, ctrlC: cancel, addr: loopback(ports[2])}
	dir := filepath.Join(t.TempDir(), "weir-data")
	for _, receipt := range []string{"done  ", "a repetition"} { // the second start finds the ledger of the first
		var log bytes.Buffer
		args := []string{
			"dev", "--data-dir", dir, "--http-port", strconv.Itoa(ports[0]),
			"--grpc-port", strconv.Itoa(ports[3]), "--gossip-port", strconv.Itoa(ports[6]),
		}
		code := run(ctx, args, u, &log)
		outcome{code, u.String(), log.String()}.want(t, exitOK, "3 nodes ready", "/v1/check -d", "/grants", "/v1/accounts/alice")
		u.answer.want(t, exitOK, receipt, "alice")
		u.Reset()
		ctx, u.ctrlC = context.WithTimeout(t.Context(), clusterTimeMax)
		defer u.ctrlC()
	}
}

func TestDemoTellsItsStory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	var out, err bytes.Buffer
	code := run(t.Context(), []string{"demo"}, &out, &err)
	outcome{code, out.String(), err.String()}.want(t, exitOK, "kill -9", "is her home", "LIMIT", "INCLUDED", "PROMO", "CREDIT",
		"CREDITS_EXHAUSTED", "remedy buy", "charged nothing twice")
}
