package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/ring"
)

// chatter is gossiping nodes on a network of ours, in a bubble.
type chatter struct {
	t       *testing.T
	network *simnet.Network
	stops   map[string]func()
}

// chat runs body and then ends every node that body did not.
func chat(t *testing.T, body func(*chatter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		c := &chatter{t: t, network: simnet.New(1), stops: make(map[string]func())}
		body(c)
		for _, stop := range c.stops {
			stop()
		}
		_ = c.network.Close()
		time.Sleep(time.Minute) // what is on its way runs out
	})
}

// start runs node name at an address, which joins seed and looks for what is wanted.
func (c *chatter) start(name, ip, seed string, wanted ...Member) *Gossip {
	c.t.Helper()
	m := sighted(name, "1").Member
	g, err := NewGossip(GossipConfig{
		Self: m, Label: "test", Address: ip + ":7946", Seeds: []string{seed + ":7946"},
		Network: c.network.Host(ip), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.Run(ctx, func() []Member { return wanted }) }()
	c.stops[name] = func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
		delete(c.stops, name)
	}
	return g
}

// sees says whether g sees the named member within a time.
func sees(g *Gossip, name string, within time.Duration) bool {
	for began := time.Now(); time.Since(began) < within; time.Sleep(50 * time.Millisecond) {
		if _, ok := g.Find(name); ok {
			return true
		}
	}
	return false
}

func TestWhatAMemberSaysSpreadsAndItsGoodbyeIsHeard(t *testing.T) {
	chat(t, func(c *chatter) {
		a, b := c.start("a", "10.0.0.1", "10.0.0.1"), c.start("b", "10.0.0.2", "10.0.0.1")
		if !sees(a, "b", 5*time.Second) || !sees(b, "a", 5*time.Second) {
			t.Fatal("they do not see each other")
		}
		b.Say(func(s *Sighting) { s.Epoch = 7 })
		time.Sleep(2 * time.Second)
		if m, _ := a.Find("b"); m.Epoch != 7 || m.Gossip != "10.0.0.2:7946" {
			t.Errorf("a knows %+v", m)
		}
		c.stops["b"]()
		time.Sleep(500 * time.Millisecond) // far less than it takes to suspect and bury a member
		if _, ok := a.Find("b"); ok {
			t.Error("a still sees b after its goodbye")
		}
	})
}

// A member that swallows what is sent to it must not keep others from hearing what this node says.
func TestADeadAddressHoldsUpNoAnnouncement(t *testing.T) {
	chat(t, func(c *chatter) {
		var lost []Member
		for _, ip := range []string{"10.0.0.7", "10.0.0.8", "10.0.0.9"} {
			lost = append(lost, Member{Name: ip, Gossip: ip + ":7946"})
			c.network.Host(ip)
			c.network.Cut("10.0.0.2", ip)
		}
		a, b := c.start("a", "10.0.0.1", "10.0.0.1"), c.start("b", "10.0.0.2", "10.0.0.1", lost...)
		if !sees(a, "b", 5*time.Second) {
			t.Fatal("a does not see b")
		}
		for epoch := uint64(1); epoch < 10; epoch++ {
			b.Say(func(s *Sighting) { s.Epoch = epoch })
			time.Sleep(2 * time.Second)
			if m, _ := a.Find("b"); m.Epoch != epoch {
				t.Errorf("two seconds later a knows epoch %d, b said %d", m.Epoch, epoch)
			}
		}
		began := time.Now()
		c.stops["b"]()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}

func TestASplitHealsAfterTheDeadAreForgotten(t *testing.T) {
	chat(t, func(c *chatter) {
		at := func(name, ip string) Member { return Member{Name: name, Gossip: ip + ":7946"} }
		a := c.start("a", "10.0.0.1", "10.0.0.1", at("b", "10.0.0.2"))
		b := c.start("b", "10.0.0.2", "10.0.0.1", at("a", "10.0.0.1"))
		if !sees(a, "b", 5*time.Second) {
			t.Fatal("they never met")
		}
		c.network.Cut("10.0.0.1", "10.0.0.2")
		time.Sleep(5 * time.Minute)
		if _, ok := a.Find("b"); ok {
			t.Error("a sees b through a cut")
		}
		c.network.HealAll()
		if !sees(a, "b", 10*time.Second) || !sees(b, "a", 10*time.Second) {
			t.Error("the split does not heal")
		}
	})
}

func TestAMemberOfAnotherClusterIsKeptOut(t *testing.T) {
	chat(t, func(c *chatter) {
		a := c.start("a", "10.0.0.1", "10.0.0.1")
		a.Say(func(s *Sighting) { s.Cluster = "ours" })
		b := c.start("b", "10.0.0.2", "10.0.0.2")
		b.Say(func(s *Sighting) { s.Cluster = "theirs" })
		time.Sleep(time.Second)
		d := c.start("d", "10.0.0.3", "10.0.0.1", Member{Name: "b", Gossip: "10.0.0.2:7946"})
		if !sees(d, "a", 5*time.Second) {
			t.Error("who has no cluster yet may join")
		}
		if sees(a, "b", 20*time.Second) || sees(b, "a", time.Second) {
			t.Error("two clusters see each other")
		}
	})
}

func TestWhatGossipDoesNotBelieve(t *testing.T) {
	s := sighted("b", "1")
	s.Standing = ring.Steady
	meta, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := sighting(&memberlist.Node{Name: "b", Addr: net.IPv4(10, 0, 0, 2), Port: 7946, Meta: meta})
	if err != nil || got.Standing != 0 {
		t.Errorf("a standing is the view's to give: %+v, %v", got, err)
	}
	if _, err := sighting(&memberlist.Node{Name: "c", Meta: meta}); err == nil {
		t.Error("c speaks as b")
	}
	if _, err := sighting(&memberlist.Node{Name: "b", Meta: []byte("{")}); err == nil {
		t.Error("broken words are believed")
	}
}

// memberlist panics on metadata past its bound, so what grows later must have room from the start.
func TestANodeThatSaysTooMuchIsRefusedAtOnce(t *testing.T) {
	for n := 1; n < memberlist.MetaMaxSize; n++ {
		m := sighted("a", "1").Member
		m.Zone = strings.Repeat("z", n)
		g, err := NewGossip(GossipConfig{Self: m, Expect: 3})
		if err != nil {
			if n < 100 {
				t.Errorf("a zone of %d bytes: %v", n, err)
			}
			return
		}
		g.Say(func(s *Sighting) {
			s.Cluster, s.Epoch, s.Policy, s.Founded, s.Leaving = strings.Repeat("c", 26), 1<<40, 1<<40, true, true
		})
		if size := len(g.meta()); size > memberlist.MetaMaxSize {
			t.Fatalf("a zone of %d bytes is accepted and grows to %d", n, size)
		}
	}
	t.Error("everything is accepted")
}

// faulty is a network whose sockets fail a few times before they work.
type faulty struct {
	Network
	left int
}

func (f *faulty) Listen(address string) (net.Listener, error) {
	l, err := f.Network.Listen(address)
	return faultyListener{l, f}, err
}

type faultyListener struct {
	net.Listener
	f *faulty
}

func (l faultyListener) Accept() (net.Conn, error) {
	if l.f.left > 0 {
		l.f.left--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAFailedAcceptDoesNotDeafenGossip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		g, err := openGossipNet(&faulty{network.Host("10.0.0.1"), 3}, "10.0.0.1:7946", "", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		other, err := network.Host("10.0.0.2").Dial(t.Context(), "10.0.0.1:7946")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case c := <-g.StreamCh():
			_ = c.Close()
		case <-time.After(time.Second):
			t.Error("no stream is taken any more")
		}
		_ = other.Close()
		if err := g.Shutdown(); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
}
