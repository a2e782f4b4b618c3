package node

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-cluster/weir/ring"
)

// running is a process whose snapshots are written in virtual time.
type runningLife struct {
	*life
	disk *brokenDisk
	stop func()
}

func runSnapshots(t *testing.T, do func(r *runningLife)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk := &brokenDisk{Snapshots: SnapshotsIn(t.TempDir())}
		now := time.Now()
		r := &runningLife{life: newLife(t, disk, &now), disk: disk}
		r.snapshots.cfg.Now = time.Now
		r.sees("c", 5, 3, 2, me)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := r.snapshots.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		r.stop = func() { cancel(); <-ended }
		do(r)
		r.stop()
	})
}

// after lets time pass, and says how many snapshots were written by then.
func (r *runningLife) after(d time.Duration) int {
	time.Sleep(d)
	synctest.Wait()
	*r.now = time.Now()
	return r.disk.wrote()
}

func (r *runningLife) want(what string, got, want int) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %d, want %d", what, got, want)
	}
}

func TestASnapshotIsWrittenWhileSomethingChangesAndAtTheEnd(t *testing.T) {
	t.Parallel()
	runSnapshots(t, func(r *runningLife) {
		u := ring.Partition("d", "u")
		r.want("while the node has nothing", r.after(time.Minute), 0)
		r.holds(u, 3, true)
		r.want("when it has begun something", r.after(2*time.Second), 1)
		r.want("while nothing changes", r.after(time.Minute), 1)
		if got := gauge(r.t, r.set, "weir_snapshot_age_seconds"); got > 1.5 {
			r.t.Errorf("the disk has all, and its age is %v s", got)
		}
		r.check("u")
		r.want("after a change", r.after(2*time.Second), 2)
		for range 30 {
			r.check("u")
			r.after(time.Second)
		}
		r.want("after 30 s of changes", r.disk.wrote(), 8)
		r.after(10 * time.Second) // the last of them, and what came within a second of it
		was := r.disk.wrote()
		r.want("when they are over", r.after(time.Minute), was)
		r.check("u")
		for r.after(50*time.Millisecond) == was {
		}
		r.check("u") // right after it was written
		r.want("after a change that came late", r.after(6*time.Second), was+2)
		r.after(time.Minute)
		was = r.disk.wrote()
		r.holds(u, 7, false)
		r.want("when it has another part", r.after(1500*time.Millisecond), was+1)
		r.holds(u, 0, false)
		r.want("soon after it has none", r.after(2*time.Second), was+1)
		r.want("when it has none", r.after(5*time.Second), was+2)
		r.stop()
		r.want("at the end", r.disk.wrote(), was+3)
		if got := gauge(r.t, r.set, "weir_snapshot_bytes"); int(got) != len(snapshotBytes(r.t, string(r.disk.Snapshots.(snapshotDir)))) {
			r.t.Errorf("%v bytes are told", got)
		}
	})
}

func TestADiskThatFailsIsToldOfOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	runSnapshots(t, func(r *runningLife) {
		r.disk.set(errDisk, nil)
		r.holds(1, 3, true)
		r.want("on a full disk", r.after(time.Minute), 0)
		r.want("warnings", r.log.count("level=WARN"), 1)
		r.want("that say why", r.log.count(errDisk.Error()), 1)
		if got := gauge(r.t, r.set, "weir_snapshot_age_seconds"); got < 59 {
			r.t.Errorf("age %v s", got)
		}
		r.disk.set(nil, nil)
		r.want("when it has room again", r.after(2*time.Second), 1)
		r.want("good news", r.log.count("snapshots are written again"), 1)
	})
}

func TestADiskThatStallsHoldsUpNothingForLong(t *testing.T) {
	t.Parallel()
	runSnapshots(t, func(r *runningLife) {
		stall := make(chan struct{})
		r.disk.set(nil, stall)
		r.holds(1, 3, true)
		r.after(time.Minute)
		r.want("warnings", r.log.count("level=WARN"), 1)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > snapshotLast {
			r.t.Errorf("the stop took %s", took)
		}
		close(stall) // the write on its way ends, and nobody waits for it
		r.want("written in the end", r.after(time.Second), 1)
	})
}

// The storage may be the node's while the cluster is another: only the view tells.
func TestASnapshotOfAnotherClusterIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := begin()
	was := newLife(t, SnapshotsIn(dir), &now)
	was.sees("old", 5, 3, 2, me)
	was.holds(1, 3, true)
	was.write()
	is := newLife(t, SnapshotsIn(dir), &now)
	is.sees("c", 5, 3, 2, me)
	is.snapshots.due()
	is.snapshots.due()
	if got := is.log.count(errForeign.Error()); got != 1 || len(is.snapshots.past.sections) != 0 {
		t.Errorf("told %d times, %d partitions are kept", got, len(is.snapshots.past.sections))
	}
	if got := files(t, dir); len(got) != 1 || got[0] == snapshotName {
		t.Errorf("there is %v", got)
	}
}

func TestASaveThatFailsLeavesTheSnapshotAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := SnapshotsIn(dir)
	if r, err := d.Open(); r != nil || err != nil {
		t.Fatalf("of an empty directory: %v, %v", r, err)
	}
	save := func(text string, err error) error {
		return d.Save(func(w io.Writer) error {
			for range 3 { // more than is synced at once
				if _, err := w.Write([]byte(text)); err != nil {
					return err
				}
			}
			return err
		})
	}
	for i, row := range []struct {
		text string
		err  error
		want string
	}{{"one", nil, "one"}, {"two", errDisk, "one"}, {"three", nil, "three"}} {
		if err := os.WriteFile(filepath.Join(dir, snapshotName+".new"), []byte("what a crash left"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := save(row.text, row.err); !errors.Is(err, row.err) {
			t.Errorf("save %d: %v", i, err)
		}
		if got := string(snapshotBytes(t, dir)); got != row.want+row.want+row.want || len(files(t, dir)) != 1 {
			t.Errorf("after save %d there is %q, in %v", i, got, files(t, dir))
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := save("four", nil); err == nil && os.Getuid() != 0 {
		t.Error("saved where it must not write")
	}
}
