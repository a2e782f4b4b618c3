package simnet

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacketArrivesAfterTheDelayAndNamesItsSender(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := sockets(t, n)
		began := time.Now()
		if _, err := near.WriteTo([]byte("ping"), far.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 16)
		count, from, err := far.ReadFrom(got)
		if err != nil || string(got[:count]) != "ping" || from.(*net.UDPAddr).String() != near.LocalAddr().String() {
			t.Errorf("got %q from %v, %v", got[:count], from, err)
		}
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("arrived after %v", took)
		}
		_, err = near.WriteTo(make([]byte, packetBytesMax+1), far.LocalAddr())
		wantError(t, "packet too large", err, syscall.EMSGSIZE)
		if err := far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _, err = far.ReadFrom(got)
		wantError(t, "read with nothing there", err, os.ErrDeadlineExceeded)
		time.AfterFunc(time.Second, func() { _ = near.Close() })
		_, _, err = near.ReadFrom(got)
		wantError(t, "read of a closed socket", err, net.ErrClosed)
	})
}

func TestCutLosesPacketsThatAreSentOrOnTheirWay(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := sockets(t, n)
		post := func(text string) {
			if _, err := near.WriteTo([]byte(text), far.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		post("on its way")
		n.Cut(alpha, beta)
		post("sent into the cut")
		time.Sleep(time.Second)
		post("sent into the cut, due after it")
		n.Heal(alpha, beta)
		post("after")
		got := make([]byte, 32)
		count, _, err := far.ReadFrom(got)
		if err != nil || string(got[:count]) != "after" {
			t.Errorf("got %q, %v", got[:count], err)
		}
		if s := n.Stats(); s.PacketsSent != 4 || s.PacketsDropped != 3 {
			t.Errorf("stats %+v", s)
		}
	})
}

// received sends 1,000 packets and returns the texts that arrive.
func received(t *testing.T, n *Network) []string {
	t.Helper()
	near, far := sockets(t, n)
	for i := range 1000 {
		if _, err := near.WriteTo(fmt.Appendf(nil, "%04d", i), far.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	var texts []string
	if err := far.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		got := make([]byte, 8)
		count, _, err := far.ReadFrom(got)
		if err != nil {
			return texts
		}
		texts = append(texts, string(got[:count]))
	}
}

func TestLossAndDuplicationKeepTheirRateAndRepeatWithTheSeed(t *testing.T) {
	t.Parallel()
	runs := map[uint64][]string{}
	for _, seed := range []uint64{1, 2, 1} {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed)
			defer n.Close()
			n.SetDelay(10*time.Millisecond, 10*time.Millisecond)
			n.SetLoss(0.2)
			n.SetDuplication(0.1)
			got := received(t, n)
			s := n.Stats()
			if s.PacketsDropped < 140 || s.PacketsDropped > 260 || s.PacketsDuplicated < 40 || s.PacketsDuplicated > 120 {
				t.Errorf("of 1000: %+v", s)
			}
			if want := int(1000 - s.PacketsDropped + s.PacketsDuplicated); len(got) != want {
				t.Errorf("%d arrived, want %d", len(got), want)
			}
			slices.Sort(got)
			if earlier := runs[seed]; earlier != nil && !slices.Equal(got, earlier) {
				t.Errorf("seed %d lost other packets the second time", seed)
			}
			runs[seed] = got
		})
	}
	if slices.Equal(runs[1], runs[2]) {
		t.Error("two seeds lost the same packets")
	}
}

func TestLinkOfItsOwnIsUnlikeTheRest(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		n.SetLink(beta, alpha, Faults{Loss: 1})
		if got := received(t, n); len(got) != 1000 {
			t.Errorf("%d packets arrived over the other link, want all", len(got))
		}
		near, err := n.Host(beta).ListenPacket(":0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := near.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(alpha), Port: ephemeralMin}); err != nil {
			t.Fatal(err)
		}
		if s := n.Stats(); s.PacketsDropped != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestLinksDrawFromStreamsOfTheirOwn(t *testing.T) {
	t.Parallel()
	draws := func(others int) []time.Duration {
		n := New(3)
		for range others {
			n.link(beta, alpha).delay()
		}
		there, back := n.link(alpha, beta), n.link(beta, alpha)
		if there.delay() == back.delay() {
			t.Error("a link and its way back draw the same")
		}
		return []time.Duration{there.delay(), there.delay(), there.delay()}
	}
	if alone, beside := draws(0), draws(5); !slices.Equal(alone, beside) {
		t.Errorf("traffic on another link changes the delays from %v to %v", alone, beside)
	}
}

func TestPacketsOvertakeEachOtherWhereTheDelayVaries(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		n.SetDelay(0, 100*time.Millisecond)
		got := received(t, n)
		if slices.IsSorted(got) {
			t.Error("all came in order")
		}
		slices.Sort(got)
		if len(got) != 1000 || strings.Join(got[:3], " ") != "0000 0001 0002" {
			t.Errorf("%d packets arrived", len(got))
		}
	})
}

func TestFullQueueDropsPackets(t *testing.T) {
	bubble(t, func(t *testing.T, n *Network) {
		near, far := sockets(t, n)
		for range packetsMax + 10 {
			if _, err := near.WriteTo([]byte("x"), far.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if got := n.Stats().PacketsDropped; got != 10 {
			t.Errorf("%d packets dropped, want 10", got)
		}
	})
}
