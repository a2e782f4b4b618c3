package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/weir-cluster/weir/chaos/simnet"
)

// alone runs a group of one server with a tape, in real time, and returns it with what stops it.
func alone(t testing.TB, s Storage, m Machine, network Network) (*Group, func()) {
	t.Helper()
	c := soloConfig(s, map[string]Machine{"tape": m})
	c.Network = network
	return solo(t, c)
}

// soloConfig is of a group of one server, n1.
func soloConfig(s Storage, machines map[string]Machine) Config {
	c := DefaultConfig()
	c.Name, c.Address, c.Network, c.Resolve, c.Storage, c.Now = "n1", ":7947", simnet.New(1).Host("10.0.0.1"), resolve, s, time.Now
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLease = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	c.Machines = machines
	return c
}

// solo runs a server until it leads a group of its own, in real time, and returns it with what stops it.
func solo(t testing.TB, c Config) (*Group, func()) {
	t.Helper()
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- g.Run(ctx) }()
	deadline := time.After(20 * time.Second)
	for founded := g.HasState(); !g.Leading(); {
		select {
		case <-g.Changes():
		case err := <-over:
			t.Fatalf("run: %v", err)
		case <-deadline:
			t.Fatalf("no leader: %+v", g.Status())
		}
		if !founded {
			founded = true
			if err := g.Bootstrap(ctx, []Server{{ID: g.ID(), Name: "n1", Voter: true}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g, func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func TestStorageIsOpenedOnceAndKeepsItsLogAndID(t *testing.T) {
	t.Parallel()
	for name, storage := range map[string]Storage{"disk": Disk(t.TempDir() + "/deep/raft"), "memory": Memory()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := simnet.New(1)
			first, second := &tape{}, &tape{}
			g, stop := alone(t, storage, first, n.Host("10.0.0.1"))
			id := g.ID()
			for i := range 10 {
				if _, err := g.Propose(t.Context(), "tape", fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := storage.Open(); !errors.Is(err, ErrInUse) {
				t.Errorf("second open: %v, want %v", err, ErrInUse)
			}
			stop()
			g, stop = alone(t, storage, second, n.Host("10.0.0.1"))
			defer stop()
			if g.ID() != id || fmt.Sprint(first.played()) != fmt.Sprint(second.played()) || len(first.played()) != 10 {
				t.Errorf("%s played %q and came back as %s with %q", id, first.played(), g.ID(), second.played())
			}
		})
	}
}

func TestStoragesHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	a, err := Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Memory().Open()
	if err != nil || a.ID == b.ID || len(a.ID) != 2*storageIDBytes {
		t.Errorf("ids %q and %q, %v", a.ID, b.ID, err)
	}
}

func TestDiskInAFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Disk(dir).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := Disk(dir + "/raft.db").Open(); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("opened a file as a directory: %v", err)
	}
}

// TestMemoryShowsASnapshotOnlyWhenItIsWhole: a server that starts from half a snapshot starts not at all.
func TestMemoryShowsASnapshotOnlyWhenItIsWhole(t *testing.T) {
	t.Parallel()
	s, err := Memory().Open()
	if err != nil {
		t.Fatal(err)
	}
	write := func(index uint64, text string) raft.SnapshotSink {
		sink, err := s.Snapshots.Create(1, index, 3, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(sink, text); err != nil {
			t.Fatal(err)
		}
		return sink
	}
	want := func(index uint64, text string) {
		t.Helper()
		list, err := s.Snapshots.List()
		if err != nil || len(list) != 1 || list[0].Index != index || list[0].Size != int64(len(text)) {
			t.Fatalf("listed %+v, %v, want index %d", list, err, index)
		}
		_, r, err := s.Snapshots.Open(list[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("read %q, %v, want %q", got, err, text)
		}
	}
	half := write(5, "half")
	if list, err := s.Snapshots.List(); err != nil || len(list) != 0 {
		t.Errorf("listed %+v, %v, before there was any", list, err)
	}
	if err := write(6, "whole").Close(); err != nil {
		t.Fatal(err)
	}
	want(6, "whole")
	if err := half.Cancel(); err != nil {
		t.Fatal(err)
	}
	want(6, "whole")
	if _, _, err := s.Snapshots.Open(half.ID()); err == nil {
		t.Error("a cancelled snapshot was opened")
	}
}
