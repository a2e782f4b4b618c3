package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/chaos/simnet"
	"github.com/weir-cluster/weir/cluster"
)

// unknown is the lineage of a node that has not joined yet.
func unknown() string { return "" }

func TestThePeerPortTakesNoRaftConnectionOfAnotherLineage(t *testing.T) {
	rows := []struct {
		own, theirs string
		kept        bool
	}{
		{"", "", true}, {"a", "", true}, {"", "a", true}, {"a", "a", true}, {"a", "b", false}, {"a", "a.1", false}, {"a.1", "a", false},
	}
	for _, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			network := simnet.New(1)
			p, err := OpenPeerPort(network.Host("10.0.0.1"), "10.0.0.1:7947", "n1", func() string { return r.own })
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- p.Run(ctx) }()
			other := RaftNetwork{&PeerPort{network: network.Host("10.0.0.2"), lineage: func() string { return r.theirs }}}
			c, err := other.Dial(ctx, RaftAddress("n1", "10.0.0.1:7947"))
			if err != nil {
				t.Fatal(err)
			}
			raft, _ := p.Raft().Listen("")
			taken := make(chan net.Conn, 1)
			go func() {
				if c, err := raft.Accept(); err == nil {
					taken <- c
				}
			}()
			time.Sleep(time.Second) // in the bubble: it has arrived
			if kept := len(taken) == 1; kept != r.kept {
				t.Errorf("a connection of %q at a node of %q: kept %t", r.theirs, r.own, kept)
			}
			if len(taken) == 1 {
				_ = (<-taken).Close()
			}
			_ = c.Close()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
}

func TestThePeerPortTellsRaftFromGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		p, err := OpenPeerPort(network.Host("10.0.0.1"), "10.0.0.1:7947", "n1", unknown)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		dialer := network.Host("10.0.0.2")
		say := func(c net.Conn, err error, text string) {
			t.Helper()
			if err == nil {
				_, err = io.WriteString(c, text)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		hear := func(l net.Listener, want string) {
			t.Helper()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); string(got) != want || err != nil {
				t.Errorf("heard %q, %v, want %q", got, err, want)
			}
			_ = c.Close()
		}
		raft, _ := p.Raft().Listen("")
		other := RaftNetwork{&PeerPort{network: dialer, lineage: unknown}}
		c, err := other.Dial(ctx, RaftAddress("n1", "10.0.0.1:7947"))
		say(c, err, "append")
		hear(raft, "append")
		astray, err := other.Dial(ctx, RaftAddress("n9", "10.0.0.1:7947"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := astray.Read(make([]byte, 1)); err == nil {
			t.Error("a Raft connection for another node is kept")
		}
		_ = astray.Close()
		c, err = dialer.Dial(ctx, "10.0.0.1:7947")
		say(c, err, "PRI * HTTP/2.0")
		hear(p.GRPC(), "PRI * HTTP/2.0")

		silent, err := dialer.Dial(ctx, "10.0.0.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil { // closed by the port after its time is up
			t.Error("a connection that says nothing is kept")
		}
		_ = silent.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if _, err := raft.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after the end: %v", err)
		}
	})
}

// A port scanner, or a health check that only connects, must not hold up a stop.
func TestASilentConnectionHoldsUpNoStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		p, err := OpenPeerPort(network.Host("10.0.0.1"), "10.0.0.1:7947", "n1", unknown)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		silent, err := network.Host("10.0.0.2").Dial(ctx, "10.0.0.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = silent.Close()
	})
}

// flaky is a network whose listener cannot take the first connections.
type flaky struct {
	cluster.Network
	left *int
}

func (f flaky) Listen(address string) (net.Listener, error) {
	l, err := f.Network.Listen(address)
	return flakyListener{l, f.left}, err
}

type flakyListener struct {
	net.Listener
	left *int
}

func (l flakyListener) Accept() (net.Conn, error) {
	if *l.left > 0 {
		*l.left--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAConnectionThatCannotBeTakenEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, left := simnet.New(1), 3
		p, err := OpenPeerPort(flaky{network.Host("10.0.0.1"), &left}, "10.0.0.1:7947", "n1", unknown)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		c, err := network.Host("10.0.0.2").Dial(ctx, "10.0.0.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("PRI")); err != nil {
			t.Fatal(err)
		}
		taken, err := p.GRPC().Accept()
		if err != nil {
			t.Fatalf("the port is gone: %v", err)
		}
		_, _ = taken.Close(), c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestTheTimeBoundIsForTheFirstByteOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		p, err := OpenPeerPort(network.Host("10.0.0.1"), "10.0.0.1:7947", "n1", unknown)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		c, err := network.Host("10.0.0.2").Dial(ctx, "10.0.0.1:7947")
		if err != nil {
			t.Fatal(err)
		}
		write := func(text string) {
			t.Helper()
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
		}
		write("P")
		slow, err := p.GRPC().Accept()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * tagTimeout)
		write("RI")
		cancel() // nor does the end of the port cut what was handed over
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		_ = c.Close()
		if got, err := io.ReadAll(slow); string(got) != "PRI" || err != nil {
			t.Errorf("heard %q, %v", got, err)
		}
		_ = slow.Close()
	})
}
