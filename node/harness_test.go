package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/node"
	"github.com/weir-cluster/weir/ring"
)

const simPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: window, key: [user], algorithm: fixed_window, limit: 10, window: 1h}
      - {name: bucket, match: {kind: spill}, key: [user], algorithm: token_bucket, rate: 2/h, burst: 2, spill: true}
    prices:
      - {per: {requests: 1}}
    order: [included, promo, credit]
`

// sim is a cluster of whole nodes in a bubble, over a network of ours.
type sim struct {
	t       *testing.T
	network *simnet.Network
	nodes   []*simNode
	web     *http.Client
	crashed []*simNode
}

type simNode struct {
	name, ip  string
	storage   group.Storage
	snapshots node.Snapshots // nil: none
	webhooks  []node.Webhook
	node      *node.Node
	cancel    context.CancelFunc
	done      chan error
}

// simulate runs body over n running nodes in virtual time, and ends them all.
func simulate(t *testing.T, seed uint64, n int, body func(*sim)) {
	t.Helper()
	simulateWith(t, seed, n, func(*simNode) {}, body)
}

// simulateWith is simulate with nodes that equip changes before they start.
func simulateWith(t *testing.T, seed uint64, n int, equip func(*simNode), body func(*sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		s := &sim{t: t, network: simnet.New(seed)}
		outside := s.network.Host("10.0.1.1")
		transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return outside.Dial(ctx, address)
		}}
		s.web = &http.Client{Transport: transport, Timeout: 10 * time.Second}
		for i := range n {
			s.nodes = append(s.nodes, &simNode{name: fmt.Sprintf("n%d", i+1), ip: fmt.Sprintf("10.0.0.%d", i+1), storage: group.Memory()})
		}
		for _, m := range s.nodes {
			equip(m)
			s.start(m, n)
		}
		s.until("every node is ready", func() bool {
			for _, m := range s.nodes {
				select {
				case <-m.node.Ready():
				default:
					return false
				}
			}
			return true
		})
		body(s)
		for _, m := range s.nodes {
			s.stop(m)
		}
		for _, m := range s.crashed {
			<-m.done
		}
		transport.CloseIdleConnections()
		_ = s.network.Close()
		time.Sleep(time.Minute) // calls in flight run out, in virtual time
	})
}

func freshStorage() group.Storage { return group.Memory() }

// start starts a node that joins the others.
func (s *sim) start(m *simNode, expect int) {
	s.t.Helper()
	var join []string
	for _, other := range s.nodes {
		join = append(join, other.ip)
	}
	s.run(m, expect, join)
}

// startAlone starts a node that is told to join nobody.
func (s *sim) startAlone(m *simNode) {
	s.t.Helper()
	s.run(m, 0, nil)
}

func (s *sim) run(m *simNode, expect int, join []string) {
	s.t.Helper()
	c := node.DefaultConfig()
	c.Name, c.Network, c.Clock, c.Storage = m.name, s.network.Host(m.ip), time.Now, m.storage
	c.Snapshots, c.Webhooks = m.snapshots, m.webhooks
	c.HTTPAddr, c.GRPCAddr, c.GossipAddr, c.PeerAddr = m.ip+":8080", m.ip+":8081", m.ip+":7946", m.ip+":7947"
	c.BootstrapExpect, c.Policy, c.PolicyName = expect, []byte(simPolicy), "sim.yaml"
	c.Logger = slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelError + 1}))
	c.Join = join
	var err error
	if m.node, err = node.New(c); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done = cancel, make(chan error, 1)
	go func() { m.done <- m.node.Run(ctx) }()
}

// stop ends a node gracefully and waits for it.
func (s *sim) stop(m *simNode) {
	s.t.Helper()
	if m.cancel == nil {
		return
	}
	m.cancel()
	if err := <-m.done; err != nil {
		s.t.Errorf("%s: %v", m.name, err)
	}
	m.cancel = nil
}

// crash takes a node off the network at once; its process is then ended unheard.
func (s *sim) crash(m *simNode) {
	s.t.Helper()
	s.network.Crash(m.ip)
	m.cancel()
	s.crashed = append(s.crashed, m)
	m.cancel = nil
}

// until waits for a condition, within a generous deadline in virtual time.
func (s *sim) until(what string, is func() bool) {
	s.t.Helper()
	for range 1200 {
		if is() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("not within two minutes: %s", what)
}

// answer is what a node said to a check.
type answer struct {
	Verdict     string `json:"verdict"`
	Reason      string `json:"reason"`
	Home        string `json:"home"`
	Epoch       uint64 `json:"epoch"`
	Detail      string `json:"detail"`
	ID          string `json:"decision_id"`
	Reservation string `json:"reservation"`
	Status      int
	Sources     []struct {
		Source string `json:"source"`
		Grant  string `json:"grant"`
	} `json:"sources"`
}

func (s *sim) check(m *simNode, body string) answer {
	s.t.Helper()
	var a answer
	a.Status = s.call(m, "POST", "/v1/check", body, &a)
	return a
}

// call makes an HTTP call to a node and decodes its JSON answer.
func (s *sim) call(m *simNode, method, path, body string, into *answer, headers ...string) int {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+m.ip+":8080"+path, bytes.NewBufferString(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.web.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s at %s: %v", method, path, m.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		s.t.Fatalf("%s %s at %s: %v", method, path, m.name, err)
	}
	return res.StatusCode
}

// receipt is what the ledger said to a write.
type receipt struct {
	Outcome  string `json:"outcome"`
	Seq      uint64 `json:"seq"`
	Balance  int64  `json:"balance_after_micros"`
	Index    uint64 `json:"index"`
	Term     uint64 `json:"term"`
	Replayed bool   `json:"replayed"`
}

// ledger makes a write, again while its outcome is unknown, as a caller should.
func (s *sim) ledger(m *simNode, path, key, body string, into *receipt) {
	s.t.Helper()
	s.until("the ledger answers "+path, func() bool {
		r, err := http.NewRequest("POST", "http://"+m.ip+":8080"+path, bytes.NewBufferString(body))
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", key)
		res, err := s.web.Do(r)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(into) == nil
	})
}

type view struct {
	Cluster string `json:"cluster"`
	Leader  string `json:"leader"`
	Members []struct {
		Name string `json:"name"`
	} `json:"members"`
	Homes []int `json:"homes"`
}

func (s *sim) view(m *simNode) view {
	s.t.Helper()
	res, err := s.web.Get("http://" + m.ip + ":8080/v1/view")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var v view
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// text returns what a node answers to a GET, empty when it does not.
func (s *sim) text(m *simNode, path string) string {
	s.t.Helper()
	res, err := s.web.Get("http://" + m.ip + ":8080" + path)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(b)
}

// leader returns the node that leads the Raft group.
func (s *sim) leader() *simNode {
	s.t.Helper()
	v := s.view(s.nodes[0])
	for _, m := range s.nodes {
		if m.name == v.Leader {
			return m
		}
	}
	s.t.Fatalf("no leader in %+v", v.Leader)
	return nil
}

// userOf returns a user whose home is the named node.
func (s *sim) userOf(name string) string {
	s.t.Helper()
	v := s.view(s.nodes[0])
	for i := range 1000 {
		user := fmt.Sprint("user-", i)
		if v.Members[v.Homes[ring.Partition("d", user)]].Name == name {
			return user
		}
	}
	s.t.Fatalf("no user of %s", name)
	return ""
}
