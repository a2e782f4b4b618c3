package sim

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/weir-cluster/weir/ledger/group"
)

// drive is a disk under test and the process that has it open.
type drive struct {
	*disk
	t      *testing.T
	stores group.Stores
	died   []string // why the disk ended its process
}

func onDisk(t *testing.T, do func(d *drive)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &drive{t: t}
		d.disk = newDisk("n1", rand.New(rand.NewPCG(1, 1)), func(why string) {
			d.died = append(d.died, why)
			d.crash()
		})
		d.reopen()
		do(d)
	})
}

func (d *drive) reopen() {
	d.t.Helper()
	stores, err := d.Open()
	if err != nil {
		d.t.Fatal(err)
	}
	d.stores = stores
}

// append writes entries up to an index and returns what the disk said.
func (d *drive) append(from, to uint64) error {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: 1})
	}
	return d.stores.Log.StoreLogs(logs)
}

func (d *drive) wantLast(want uint64) {
	d.t.Helper()
	if got, err := d.stores.Log.LastIndex(); err != nil || got != want {
		d.t.Errorf("last entry %d, %v, want %d", got, err, want)
	}
}

func (d *drive) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestDiskKeepsWhatItSyncedThroughACrash(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		d.must(d.append(1, 3))
		d.must(d.stores.Stable.SetUint64([]byte("term"), 7))
		old := d.stores
		d.crash()
		d.reopen()
		d.must(old.Log.StoreLog(&raft.Log{Index: 4})) // the killed process reaches nobody
		d.wantLast(3)
		if term, err := d.stores.Stable.GetUint64([]byte("term")); err != nil || term != 7 {
			t.Errorf("term %d, %v", term, err)
		}
		if _, err := d.Open(); !errors.Is(err, group.ErrInUse) {
			t.Errorf("opened twice: %v", err)
		}
		d.must(d.stores.Close())
		was := d.stores.ID
		d.lose()
		d.reopen()
		d.wantLast(0)
		if d.stores.ID == was {
			t.Error("an emptied disk has the id of the one before")
		}
	})
}

func TestCrashMeetsAWriteOnItsWay(t *testing.T) {
	t.Parallel()
	kept := make(map[uint64]bool)
	onDisk(t, func(d *drive) {
		for range 30 {
			d.slow(time.Second, time.Second)
			go func() { _ = d.append(1, 3) }()
			time.Sleep(time.Millisecond)
			d.crash()
			time.Sleep(time.Minute)
			d.repair()
			d.reopen()
			last, err := d.stores.Log.LastIndex()
			d.must(err)
			kept[last] = true
			if last > 0 {
				d.must(d.stores.Log.DeleteRange(1, last))
			}
		}
		if d.stats().Torn != 30 {
			t.Errorf("%+v", d.stats())
		}
	})
	if len(kept) != 4 {
		t.Errorf("kept %v, want none, some and all of it at times", kept)
	}
}

func TestTornWriteEndsTheProcessAndLeavesLess(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		d.must(d.append(1, 2))
		d.tear()
		d.must(d.append(3, 6)) // to a process that is gone
		if len(d.died) != 1 || d.stats().Torn != 1 {
			t.Fatalf("died %v, %+v", d.died, d.stats())
		}
		d.reopen()
		if last, err := d.stores.Log.LastIndex(); err != nil || last < 2 || last > 5 {
			t.Errorf("last entry %d, %v", last, err)
		}
		d.must(d.append(3, 6)) // once only
		d.wantLast(6)
	})
}

func TestLyingDiskLosesAllSinceAtACrash(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		d.must(d.append(1, 2))
		d.lie()
		d.must(d.append(3, 5))
		d.wantLast(5)
		d.crash()
		d.reopen()
		d.wantLast(2)
		if s := d.stats(); s.Unsure != 3 || s.Lost != 3 {
			t.Errorf("%+v", s)
		}
		d.repair()
		d.must(d.append(3, 4))
		d.crash()
		d.reopen()
		d.wantLast(4)
	})
}

func TestDiskThatFailsWritesNothingUntilRepair(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err    error
		number syscall.Errno
		dies   bool // at a vote
	}{{full(), syscall.ENOSPC, false}, {bad(), syscall.EIO, true}} {
		onDisk(t, func(d *drive) {
			d.fail(row.err)
			if err := d.append(1, 1); !errors.Is(err, row.number) {
				t.Errorf("append: %v", err)
			}
			d.must(d.stores.Stable.SetUint64([]byte("term"), 2))
			if died := len(d.died) > 0; died != row.dies {
				t.Errorf("%v: died %v", row.err, d.died)
			}
			if !row.dies {
				d.crash()
			}
			d.repair()
			d.reopen()
			d.wantLast(0)
			term, _ := d.stores.Stable.GetUint64([]byte("term"))
			if (term == 2) == row.dies {
				t.Errorf("%v: term %d", row.err, term)
			}
			d.must(d.append(1, 1))
		})
	}
}

func TestStalledDiskGoesOnWhenRepaired(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		d.stall()
		time.AfterFunc(time.Minute, d.repair)
		began := time.Now()
		d.must(d.append(1, 1))
		if took := time.Since(began); took < time.Minute || d.stats().Stalled != 1 {
			t.Errorf("took %s, %+v", took, d.stats())
		}
	})
}

func TestSlowDiskTakesItsTime(t *testing.T) {
	t.Parallel()
	onDisk(t, func(d *drive) {
		d.slow(time.Second, 2*time.Second)
		began := time.Now()
		d.must(d.append(1, 1))
		if took := time.Since(began); took < time.Second || took > 2*time.Second || d.stats().Slowed != 1 {
			t.Errorf("took %s, %+v", took, d.stats())
		}
	})
}

func TestClockRunsByItsOffsetAndRateAndNeverBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := newClock(time.Second, 2)
		want := func(what string, d time.Duration) {
			t.Helper()
			if got := c.now().Sub(began); got != d {
				t.Errorf("%s: %s, want %s", what, got, d)
			}
		}
		want("at first", time.Second)
		time.Sleep(10 * time.Second)
		want("twice as fast", 21*time.Second)
		c.set(time.Minute, 1, true)
		want("after a jump", 81*time.Second)
		c.freeze()
		time.Sleep(time.Second)
		want("frozen", 81*time.Second)
		c.thaw()
		want("thawed", 82*time.Second)
		c.set(-time.Hour, 1, false)
		want("after a jump back", 82*time.Second)
		if got := c.readings(); got != 3 {
			t.Errorf("%d readings while it was wrong", got)
		}
	})
}
