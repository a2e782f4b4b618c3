package simnet

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPausedHostReadsAndSendsNothingUntilResume(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		n.Pause(beta)
		say(t, near, "in")
		say(t, far, "out")
		time.Sleep(time.Minute)
		for _, c := range []interface{ SetReadDeadline(time.Time) error }{near, far} {
			if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := far.Read(make([]byte, 8))
		wantError(t, "read at a paused host", err, os.ErrDeadlineExceeded)
		_, err = near.Read(make([]byte, 8))
		wantError(t, "read of what a paused host sent", err, os.ErrDeadlineExceeded)
		if s := n.LinkStats(beta, alpha); s.BytesStalled != 3 {
			t.Errorf("of the way back: %+v", s)
		}
		if err := near.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		n.Resume(beta)
		hear(t, near, "out")
		hear(t, far, "in")
	})
}

func TestPausedHostKeepsPacketsThatArriveAndLosesThoseItSends(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := sockets(t, n)
		n.Pause(beta)
		if _, err := near.WriteTo([]byte("in"), far.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if _, err := far.WriteTo([]byte("out"), near.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { n.Resume(beta) })
		began := time.Now()
		got := make([]byte, 8)
		count, _, err := far.ReadFrom(got)
		if took := time.Since(began); err != nil || string(got[:count]) != "in" || took != time.Minute {
			t.Errorf("got %q, %v after %v", got[:count], err, took)
		}
		if in, out := n.LinkStats(alpha, beta), n.LinkStats(beta, alpha); in.PacketsDropped != 0 || out.PacketsDropped != 1 {
			t.Errorf("in %+v, out %+v", in, out)
		}
	})
}

func TestPausedHostIsDialledButAcceptsOnlyAfterResume(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		l, err := n.Host(beta).Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		n.Pause(beta)
		if _, err := n.Host(alpha).Dial(t.Context(), beta+":80"); err != nil {
			t.Errorf("dial to a paused host: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Host(beta).Dial(ctx, alpha+":80")
		wantError(t, "dial of a paused host", err, context.DeadlineExceeded)
		time.AfterFunc(time.Minute, func() { n.Resume(beta) })
		began := time.Now()
		if _, err := l.Accept(); err != nil || time.Since(began) != time.Minute {
			t.Errorf("accepted after %v, %v", time.Since(began), err)
		}
	})
}

func TestHealLeavesAPausedHostPausedAndResumeACutOneCut(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		n.Cut(alpha, beta)
		n.Pause(beta)
		say(t, far, "out")
		silent := func(when string) {
			t.Helper()
			if err := near.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err := near.Read(make([]byte, 8))
			wantError(t, when, err, os.ErrDeadlineExceeded)
		}
		n.Heal(alpha, beta)
		silent("healed but paused")
		n.CutOneWay(beta, alpha)
		n.Resume(beta)
		silent("resumed but cut")
		n.HealOneWay(beta, alpha)
		if err := near.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		hear(t, near, "out")
	})
}

func TestCrashedHostComesBackUnpaused(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		stream(t, n)
		n.Pause(beta)
		if open := n.Crash(beta); open == 0 {
			t.Error("nothing was open")
		}
		if open := n.Crash(beta); open != 0 {
			t.Errorf("%d open after a crash", open)
		}
		near, far := stream(t, n)
		say(t, far, "back")
		hear(t, near, "back")
	})
}

func TestReorderingIsCountedOnItsLink(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := sockets(t, n)
		go func() {
			for err := error(nil); err == nil; {
				_, _, err = far.ReadFrom(make([]byte, 8))
			}
		}()
		reordered := func() uint64 {
			before := n.LinkStats(alpha, beta).PacketsReordered
			for range 1000 {
				if _, err := near.WriteTo([]byte("x"), far.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Second)
			return n.LinkStats(alpha, beta).PacketsReordered - before
		}
		if count := reordered(); count != 0 {
			t.Errorf("%d reordered on a link that does not", count)
		}
		n.SetLink(alpha, beta, Faults{DelayMin: time.Millisecond, DelayMax: time.Millisecond, Reordering: 0.3})
		if count := reordered(); count < 100 || count > 400 {
			t.Errorf("%d of 1000 reordered", count)
		}
		if s := n.LinkStats(beta, alpha); s != (Stats{}) {
			t.Errorf("the way back: %+v", s)
		}
		n.ResetLink(alpha, beta)
		if count := reordered(); count != 0 {
			t.Errorf("%d reordered after the reset", count)
		}
	})
}

func TestWriteAtAPausedHostFailsNoSoonerThanARead(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := stream(t, n)
		say(t, far, "out")
		time.Sleep(time.Second)
		n.Pause(beta)
		if err := near.Close(); err != nil { // with what it had not read: the other end is reset
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := far.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := far.Write([]byte("more"))
		wantError(t, "write at a paused host", err, os.ErrDeadlineExceeded)
		if err := far.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		n.Resume(beta)
		_, err = far.Write([]byte("more"))
		wantError(t, "write at a resumed host", err, syscall.ECONNRESET)
	})
}
