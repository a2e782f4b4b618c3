package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ledger/group"
	"github.com/weir-cluster/weir/node"
)

// within is how soon a change for one customer is in force on every node.
const within = time.Second

// joinOutside adds a node that stays out of the Raft group, and waits until it decides.
func (s *sim) joinOutside() *simNode {
	s.t.Helper()
	return s.join(func(c *node.Config) { c.Voter = "no" })
}

// join adds a node whose configuration tune changes, and waits until it decides.
func (s *sim) join(tune func(*node.Config)) *simNode {
	s.t.Helper()
	n := len(s.nodes) + 1
	m := &simNode{name: fmt.Sprintf("n%d", n), ip: fmt.Sprintf("10.0.0.%d", n), storage: group.Memory(), done: make(chan error, 1)}
	c := node.DefaultConfig()
	c.Name, c.Network, c.Clock, c.Storage = m.name, s.network.Host(m.ip), time.Now, m.storage
	c.HTTPAddr, c.GRPCAddr, c.GossipAddr, c.PeerAddr = m.ip+":8080", m.ip+":8081", m.ip+":7946", m.ip+":7947"
	c.Logger = slog.New(slog.DiscardHandler)
	for _, other := range s.nodes {
		c.Join = append(c.Join, other.ip)
	}
	tune(&c)
	var err error
	if m.node, err = node.New(c); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() { m.done <- m.node.Run(ctx) }()
	s.nodes = append(s.nodes, m)
	s.until("the new node is ready and knows that it is home of some", func() bool {
		select {
		case <-m.node.Ready():
		default:
			return false
		}
		for _, other := range s.nodes {
			if v := s.view(other); len(v.Members) != n || !slices.Contains(v.Homes, v.named(m.name)) {
				return false
			}
		}
		return true
	})
	return m
}

func (v view) named(name string) int {
	for i, m := range v.Members {
		if m.Name == name {
			return i
		}
	}
	return -1
}

// operate makes an operator's call to a node, which must succeed.
func (s *sim) operate(m *simNode, method, path, body string) {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+m.ip+":8080"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.web.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s at %s: %v", method, path, m.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	if text, _ := io.ReadAll(res.Body); res.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s at %s: %d %s", method, path, m.name, res.StatusCode, text)
	}
}

// soon waits until what was just changed is in force, which must not take longer than it may.
func (s *sim) soon(what string, is func() bool) {
	s.t.Helper()
	for began := time.Now(); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > within {
			s.t.Errorf("not within %s: %s", within, what)
			return
		}
	}
}

// What is agreed for one customer holds within a second on whatever node is the customer's home, in the Raft group or
// out of it, and through whatever node it was agreed.
func TestAChangeForOneCustomerHoldsOnEveryNodeWithinASecond(t *testing.T) {
	simulate(t, 21, 3, func(s *sim) {
		outside := s.joinOutside()
		for _, home := range s.nodes {
			user := s.userOf(home.name)
			body := fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user)
			path := "/v1/domains/d/accounts/" + user
			reason := func() string {
				t.Helper()
				a := s.check(home, body)
				if a.Home != home.name {
					t.Fatalf("%s decided for %s, whose home is %s", a.Home, user, home.name)
				}
				return a.Reason
			}
			use := func(want int) {
				t.Helper()
				for i := range want {
					if r := reason(); r != "OK" {
						t.Fatalf("%s: check %d of %d: %s", home.name, i+1, want, r)
					}
				}
				if r := reason(); r != "RATE_LIMITED" {
					t.Fatalf("%s: more than %d: %s", home.name, want, r)
				}
			}
			for _, door := range []*simNode{s.nodes[0], outside} {
				s.operate(door, "PUT", path+"/block", `{"why":"spam"}`)
				s.soon(home.name+" blocks what "+door.name+" was told", func() bool { return reason() == "BLOCKED" })
				s.operate(door, "DELETE", path+"/block", "")
				s.soon(home.name+" unblocks", func() bool { return reason() != "BLOCKED" })
			}
			s.operate(s.nodes[1], "POST", path+"/resets", `{"limit":"window"}`)
			time.Sleep(within)
			use(10)
			s.operate(outside, "PUT", path+"/overrides/window", `{"limit":12}`)
			time.Sleep(within)
			use(2)
			s.operate(outside, "POST", path+"/resets", `{"limit":""}`)
			time.Sleep(within)
			use(12)
			s.operate(s.nodes[2], "DELETE", path+"/overrides/window", "")
			s.operate(s.nodes[2], "POST", path+"/resets", `{"limit":""}`)
			time.Sleep(within)
			use(10)
		}
	})
}

// A node that comes later, and one that was away, know all that was agreed before they decide anything.
func TestWhatWasAgreedBeforeANodeCameHoldsThere(t *testing.T) {
	simulate(t, 22, 3, func(s *sim) {
		for i := range 200 {
			s.operate(s.nodes[i%3], "PUT", fmt.Sprintf("/v1/domains/d/accounts/user-%d/block", i), `{}`)
		}
		outside := s.joinOutside()
		user := s.userOf(outside.name)
		if a := s.check(outside, fmt.Sprintf(`{"domain":"d","attributes":{"user":%q}}`, user)); a.Reason != "BLOCKED" || a.Home != outside.name {
			t.Errorf("%s: %+v", user, a)
		}
	})
}
