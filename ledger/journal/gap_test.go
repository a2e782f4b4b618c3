package journal

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func records(first, last uint64) (all [][]byte) {
	for seq := first; seq <= last; seq++ {
		all = append(all, record(seq))
	}
	return all
}

// A node that restored a snapshot goes on beyond what its journal has.
func TestAGapIsNotedAndFilled(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		add(t, j, 1, 30)
		add(t, j, 101, 130)
		misses(t, j, 50, ErrGap, 101)
		for _, c := range []struct{ first, last uint64 }{{30, 40}, {31, 101}, {131, 140}, {1, 2}, {0, 0}} {
			if err := j.Fill(c.first, records(c.first, c.last)); !errors.Is(err, ErrInvalid) {
				t.Errorf("fill of %d to %d: %v", c.first, c.last, err)
			}
		}
		for first := uint64(31); first < 71; first += 10 {
			if err := j.Fill(first, records(first, first+9)); err != nil {
				t.Fatal(err)
			}
		}
		has(t, j, 1, 70)
		if got := fmt.Sprint(j.Gaps()); got != "[{71 100}]" {
			t.Errorf("gaps %s", got)
		}
		kill(j)
		j = open(t, small(files))
		has(t, j, 1, 70)
		if err := j.Fill(71, records(71, 100)); err != nil {
			t.Fatal(err)
		}
		add(t, j, 131, 140)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, small(files))
		has(t, j, 1, 140)
		if s := j.Stats(); s.Gaps != 0 || s.Missing != 0 || s.Damaged != 0 || s.TornBytes != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestAJournalThatBeginsLateHasAGapInFront(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		add(t, j, 1001, 1050)
		misses(t, j, 1, ErrGap, 1001)
		if s := j.Stats(); s.Missing != 1000 || s.Gaps != 1 || s.Oldest != 1001 {
			t.Errorf("stats %+v", s)
		}
		if err := j.Fill(901, records(901, 1000)); err != nil { // the other node has no older ones
			t.Fatal(err)
		}
		misses(t, j, 1, ErrGap, 901)
		if err := j.Drop(901); err != nil {
			t.Fatal(err)
		}
		misses(t, j, 1, ErrGone, 901)
		misses(t, j, 900, ErrGone, 901)
		has(t, j, 901, 1050)
		if gaps := j.Gaps(); len(gaps) != 0 {
			t.Errorf("gaps %v", gaps)
		}
	})
}

func TestAReplayFillsAGap(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		j := open(t, small(files))
		add(t, j, 1, 10)
		add(t, j, 40, 50)
		add(t, j, 5, 60)
		has(t, j, 1, 60)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, small(files))
		has(t, j, 1, 60)
		if len(j.Gaps()) != 0 {
			t.Errorf("gaps %v", j.Gaps())
		}
	})
}

func TestWhatIsOldAndNotNeededGoes(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		at := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		needed := uint64(60)
		c := small(files)
		c.Now, c.RetainFor, c.Floor = at.Now, time.Hour, func() uint64 { return needed }
		j := open(t, c)
		add(t, j, 1, 50)
		at.sleep(30 * time.Minute)
		add(t, j, 51, 100)
		j.retire()
		has(t, j, 1, 100)
		at.sleep(30*time.Minute + time.Second)
		j.retire()
		if oldest := j.Oldest(); oldest < 40 || oldest > 51 {
			t.Errorf("oldest is %d, want about 50 to be dropped", oldest)
		}
		misses(t, j, 1, ErrGone, j.Oldest())
		if err := j.Append(3, record(4)); err != nil { // it cannot be compared any more
			t.Errorf("a repeat of what was dropped: %v", err)
		}
		at.sleep(time.Hour)
		j.retire()
		if oldest := j.Oldest(); oldest < 50 || oldest > 60 {
			t.Errorf("oldest is %d, but 60 is needed", oldest)
		}
		needed = 1000
		j.retire()
		if j.Oldest() < 80 || j.Newest() != 100 || j.Stats().Forced != 0 {
			t.Errorf("%+v", j.Stats())
		}
		kill(j)
		j = open(t, c)
		misses(t, j, 1, ErrGone, j.Oldest())
		add(t, j, j.Newest()+1, 102)
		has(t, j, j.Oldest(), 102)
	})
}

func TestBytesAreBoundedWhoeverNeedsThem(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		c := small(files)
		c.RetainBytes, c.Floor = 1024, func() uint64 { return 150 }
		j := open(t, c)
		add(t, j, 1, 200)
		j.retire()
		s := j.Stats()
		if s.Bytes > 1024 || s.Forced == 0 || s.Forced >= s.Retired || s.Newest != 200 {
			t.Errorf("%+v", s)
		}
		misses(t, j, 150, ErrGone, s.Oldest)
		names, err := files.List()
		if err != nil || len(names) != s.Segments {
			t.Errorf("%d files of %d segments, %v", len(names), s.Segments, err)
		}
		has(t, j, s.Oldest, 200)
	})
}
