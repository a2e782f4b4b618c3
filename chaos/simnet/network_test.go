package simnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	alpha = "10.0.0.1"
	beta  = "10.0.0.2"
)

// bubble runs f in virtual time, with a network whose links all delay by 10 ms.
func bubble(t *testing.T, f func(t *testing.T, n *Network)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDelay(10*time.Millisecond, 10*time.Millisecond)
		f(t, n)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		for p, l := range n.links {
			for _, fl := range l.flows {
				if fl.from.closed && fl.to.closed && len(fl.way) == 0 {
					t.Errorf("link %v keeps a stream that both ends closed", p)
				}
			}
		}
	})
}

// stream dials from alpha to a listener on beta.
func stream(t *testing.T, n *Network) (near, far net.Conn) {
	t.Helper()
	l, err := n.Host(beta).Listen(":7000")
	if err != nil {
		t.Fatal(err)
	}
	near, err = n.Host(alpha).Dial(t.Context(), beta+":7000")
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func sockets(t *testing.T, n *Network) (near, far net.PacketConn) {
	t.Helper()
	near, err := n.Host(alpha).ListenPacket(":0")
	if err != nil {
		t.Fatal(err)
	}
	far, err = n.Host(beta).ListenPacket("0.0.0.0:7946")
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// say writes text; hear reads as many bytes as text has and compares.
func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if count, err := c.Write([]byte(text)); count != len(text) || err != nil {
		t.Fatalf("write %q: %d, %v", text, count, err)
	}
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestStreamDeliversInOrderAfterTheDelay(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		began := time.Now()
		near, far := stream(t, n)
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("dial took %v, want a round trip of 20ms", took)
		}
		n.SetDelay(0, 50*time.Millisecond)
		var want strings.Builder
		for i := range 200 {
			text := fmt.Sprintf("%d,", i)
			want.WriteString(text)
			say(t, near, text)
		}
		hear(t, far, want.String())
		if err := near.Close(); err != nil {
			t.Error(err)
		}
		_, err := far.Read(make([]byte, 1))
		wantError(t, "read past the end", err, io.EOF)
		if took := time.Since(began); took < 60*time.Millisecond || took > 120*time.Millisecond {
			t.Errorf("all took %v; of 200 delays up to 50ms some are above 40ms, and the end waits for one more", took)
		}
	})
}

func TestStreamNamesItsEnds(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		if got := near.RemoteAddr().(*net.TCPAddr).String(); got != "10.0.0.2:7000" {
			t.Errorf("dialed %s", got)
		}
		if near.LocalAddr().String() != far.RemoteAddr().String() || far.LocalAddr().String() != "10.0.0.2:7000" {
			t.Errorf("ends disagree: %v-%v, %v-%v", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
		}
	})
}

func TestWriteBlocksAtAFullWindow(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		if err := near.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		count, err := near.Write(make([]byte, 2*windowBytesMax))
		wantError(t, "write past the window", err, os.ErrDeadlineExceeded)
		if count != windowBytesMax {
			t.Errorf("wrote %d bytes, want the window of %d", count, windowBytesMax)
		}
		if err := near.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("weir"), windowBytesMax)
		go func() {
			defer near.Close()
			_, _ = near.Write(want)
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got[windowBytesMax:], want) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
}

func TestDeadlineEndsAWaitingRead(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		began := time.Now()
		if err := near.SetReadDeadline(began.Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := near.Read(make([]byte, 1))
		wantError(t, "read", err, os.ErrDeadlineExceeded)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is not a timeout", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("waited %v", took)
		}
		if err := near.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		say(t, far, "late")
		hear(t, near, "late")
		time.AfterFunc(time.Second, func() { _ = near.SetReadDeadline(time.Unix(1, 0)) })
		_, err = near.Read(make([]byte, 1))
		wantError(t, "read ended from outside", err, os.ErrDeadlineExceeded)
	})
}

func TestCutStallsAStreamUntilHeal(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		say(t, near, "before") // on its way when the cut comes
		n.Cut(alpha, beta)
		say(t, near, " during")
		began := time.Now()
		time.AfterFunc(time.Minute, n.HealAll)
		hear(t, far, "before during")
		if took := time.Since(began); took != time.Minute+10*time.Millisecond {
			t.Errorf("bytes came after %v", took)
		}
		if got := n.Stats().BytesStalled; got != 13 {
			t.Errorf("%d bytes stalled, want 13", got)
		}
		say(t, far, "after")
		hear(t, near, "after")
	})
}

func TestCutOneWayLeavesTheOtherWayOpen(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		n.CutOneWay(alpha, beta)
		say(t, far, "back")
		hear(t, near, "back")
		say(t, near, "out")
		if err := far.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		_, err := far.Read(make([]byte, 1))
		wantError(t, "read over the cut", err, os.ErrDeadlineExceeded)
	})
}

func TestDialHangsAtACutUntilHealOrTheEndOfItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		stream(t, n)
		n.CutOneWay(beta, alpha) // the answer is what is missing
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		_, err := n.Host(alpha).Dial(ctx, beta+":7000")
		wantError(t, "dial at a cut", err, context.DeadlineExceeded)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("dial gave up after %v", took)
		}
		time.AfterFunc(time.Minute, func() { n.Heal(alpha, beta) })
		if _, err := n.Host(alpha).Dial(t.Context(), beta+":7000"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 65*time.Second+20*time.Millisecond {
			t.Errorf("dial got through after %v", took)
		}
		if got := n.Stats().DialsHung; got != 2 {
			t.Errorf("%d dials hung, want 2", got)
		}
	})
}

func TestCutDuringADialMakesItHang(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		stream(t, n)
		began := time.Now()
		time.AfterFunc(15*time.Millisecond, func() { n.Cut(alpha, beta) })
		time.AfterFunc(time.Minute, n.HealAll)
		if _, err := n.Host(alpha).Dial(t.Context(), beta+":7000"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute+20*time.Millisecond {
			t.Errorf("dial took %v", took)
		}
	})
}

func TestDialIsRefusedWhereNobodyListens(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		for _, address := range []string{beta + ":7001", "10.0.0.99:7000", "127.0.0.1:7000"} {
			_, err := n.Host(alpha).Dial(t.Context(), address)
			wantError(t, address, err, syscall.ECONNREFUSED)
		}
		for _, address := range []string{beta, beta + ":http", beta + ":70000", "beta:1"} {
			if _, err := n.Host(alpha).Dial(t.Context(), address); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v, want an error about the address", address, err)
			}
		}
		if got := n.Stats().DialsRefused; got != 3 {
			t.Errorf("%d dials refused, want 3", got)
		}
	})
}

func TestCrashResetsStreamsAndRefusesDials(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		old := n.Host(beta)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := far.Read(make([]byte, 1))
			wantError(t, "read of the crashed host", err, net.ErrClosed)
		})
		time.AfterFunc(time.Second, func() { n.Crash(beta) })
		_, err := near.Read(make([]byte, 1))
		wantError(t, "read", err, syscall.ECONNRESET)
		_, err = near.Write([]byte("x"))
		wantError(t, "write", err, syscall.ECONNRESET)
		wg.Wait()
		_, err = n.Host(alpha).Dial(t.Context(), beta+":7000")
		wantError(t, "dial", err, syscall.ECONNREFUSED)
		if got := n.Stats().StreamsReset; got != 1 {
			t.Errorf("%d streams reset, want 1", got)
		}

		again, _ := stream(t, n)
		if again == nil || n.Host(beta) == old {
			t.Error("the host did not come back as another")
		}
		_, err = old.Listen(":7005")
		wantError(t, "listen on what crashed", err, net.ErrClosed)
		_, err = old.Dial(t.Context(), alpha+":1")
		wantError(t, "dial from what crashed", err, net.ErrClosed)
	})
}

func TestCrashFreesWhoeverWaitsOnTheHost(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		_, box := sockets(t, n)
		l, err := n.Host(beta).Listen(":0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := l.Accept()
			wantError(t, "accept", err, net.ErrClosed)
		})
		wg.Go(func() {
			_, _, err := box.ReadFrom(make([]byte, 1))
			wantError(t, "read of a packet", err, net.ErrClosed)
		})
		time.Sleep(time.Second)
		n.Crash(beta)
		wg.Wait()
	})
}

func TestWriteToAClosedEndIsReset(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		say(t, near, "nobody reads this")
		time.Sleep(time.Second)
		_, err := near.Write([]byte("x"))
		wantError(t, "second write", err, syscall.ECONNRESET)
		_, err = near.Read(make([]byte, 1))
		wantError(t, "read", err, io.EOF) // the orderly end came first
		wantError(t, "second close", far.Close(), net.ErrClosed)
	})
}

func TestListenerRefusesBeyondItsBacklogAndFreesItsPort(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		n.SetDelay(0, 0)
		l, err := n.Host(beta).Listen(beta + ":7000")
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Host(beta).Listen(":7000")
		wantError(t, "second listen", err, syscall.EADDRINUSE)
		_, err = n.Host(beta).Listen(alpha + ":7000")
		wantError(t, "listen on another's address", err, syscall.EADDRNOTAVAIL)
		var waiting net.Conn
		for range backlogMax {
			if waiting, err = n.Host(alpha).Dial(t.Context(), beta+":7000"); err != nil {
				t.Fatal(err)
			}
		}
		_, err = n.Host(alpha).Dial(t.Context(), beta+":7000")
		wantError(t, "dial past the backlog", err, syscall.ECONNREFUSED)
		time.AfterFunc(time.Second, func() { _ = l.Close() })
		_, err = waiting.Read(make([]byte, 1))
		wantError(t, "read of what nobody accepted", err, syscall.ECONNRESET)
		_, err = l.Accept()
		wantError(t, "accept after close", err, net.ErrClosed)
		if _, err := n.Host(beta).Listen(":7000"); err != nil {
			t.Errorf("listen again: %v", err)
		}
	})
}
