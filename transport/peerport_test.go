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
)

func TestThePeerPortTellsRaftFromGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New(1)
		p, err := OpenPeerPort(network.Host("10.0.0.1"), "10.0.0.1:7947", time.Now)
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
		other := RaftNetwork{&PeerPort{network: dialer}}
		c, err := other.Dial(ctx, "10.0.0.1:7947")
		say(c, err, "append")
		hear(raft, "append")
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
