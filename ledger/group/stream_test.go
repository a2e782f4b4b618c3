package group

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/weir-cluster/weir/chaos/simnet"
)

// layers returns the stream layers of n1 and n2.
func layers(t *testing.T) (near, far *layer) {
	t.Helper()
	n := simnet.New(1)
	var made []*layer
	for _, name := range []string{"n1", "n2"} {
		cfg := DefaultConfig()
		address, _ := resolve(name)
		cfg.Name, cfg.Address, cfg.Resolve, cfg.Network = name, address, resolve, n.Host(strings.TrimSuffix(address, ":7947"))
		l, err := cfg.listen(name+"/disk", func(name string) string { return name + "/disk" })
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, l)
	}
	return made[0], made[1]
}

func TestStreamsAreDialedByName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := layers(t)
		if near.Addr().String() != "n1" {
			t.Errorf("address %s", near.Addr())
		}
		if _, err := near.Dial("x1", time.Second); err == nil || !strings.Contains(err.Error(), "x1") {
			t.Errorf("dial an unknown name: %v", err)
		}
		if _, err := near.Dial("n3", time.Second); err == nil {
			t.Error("a node that is not there was dialed")
		}
		out, err := near.Dial("n2", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		in, err := far.Accept()
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() { // as the library does: read until it fails, then close
			_, _ = in.Read(make([]byte, 1))
			time.Sleep(time.Second)
			_ = in.Close()
			close(closed)
		}()
		if err := far.Close(); err != nil {
			t.Error(err)
		}
		select {
		case <-closed:
		default:
			t.Error("the layer is closed, and who used a stream is not done")
		}
		if _, err := far.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		if _, err := out.Read(make([]byte, 1)); err == nil {
			t.Error("the other end is open still")
		}
		_ = out.Close()
		_ = near.Close()
		if len(near.open) != 0 || len(far.open) != 0 {
			t.Errorf("%d and %d streams are kept", len(near.open), len(far.open))
		}
	})
}

// A node that lost its disk has forgotten whom it voted for and what it stored, and whoever counts on it means another server.
func TestAStreamForAnotherDiskOfTheSameNodeIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := layers(t)
		for id, want := range map[string]string{"n2/disk": "vote", "n2/lost": "", "n2": "", "n2/disk2": ""} {
			near.idOf = func(string) string { return id }
			out, err := near.Dial("n2", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Write([]byte("vote")); err != nil {
				t.Fatal(err)
			}
			_ = out.Close()
			in, err := far.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(in); string(got) != want || (err == nil) != (want != "") {
				t.Errorf("for %s there came %q, %v", id, got, err)
			}
			_ = in.Close()
		}
		near.idOf = func(string) string { return "" }
		if _, err := near.Dial("n2", time.Second); err == nil {
			t.Error("a node was dialed that is no member")
		}
		_ = far.Close()
		_ = near.Close()
	})
}

func TestStreamsBeyondTheirBoundAreClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := layers(t)
		for range streamsMax {
			far.open[new(stream)] = struct{}{}
		}
		go func() { _, _ = far.Accept() }()
		out, err := near.Dial("n2", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = out.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := out.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stream beyond the bound: %v", err)
		}
		clear(far.open)
		_ = far.Close()
		_ = near.Close()
	})
}

func TestWarningsOfTheLibraryAreLoggedOneLevelLowerAndTheRestNot(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := raftLogger(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Info("election won", "term", 3)
	l.With("peer", "n2").Warn("heartbeat failed", "servers", hclog.Fmt("%d of %d", 1, 3))
	l.Named("net").Error("no route")
	got := b.String()
	for _, want := range []string{
		"level=DEBUG", `msg="heartbeat failed"`, "peer=n2", `servers="1 of 3"`, "level=INFO", `msg="no route"`, "component=raft.net",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, "election") {
		t.Errorf("logged %s", got)
	}
}
