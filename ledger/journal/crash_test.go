package journal

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// written returns the files of a closed journal of so many records, with a gap after the 40th.
func written(t *testing.T, newest uint64) map[string][]byte {
	t.Helper()
	files := Memory()
	j := open(t, small(files))
	add(t, j, 1, 40)
	add(t, j, 51, newest)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := files.List()
	all := map[string][]byte{}
	for _, name := range names {
		all[name] = contents(files, name)
	}
	return all
}

// faithful checks that every record of a journal is the one that was written, or is missing in a way that tells so. It
// returns how many there are.
func faithful(t *testing.T, j *Journal, newest uint64, damagedToo bool) (there int) {
	t.Helper()
	for seq := uint64(1); seq <= newest; seq++ {
		got, err := j.Read(seq)
		switch {
		case err == nil && bytes.Equal(got, record(seq)):
			there++
		case err == nil:
			t.Fatalf("record %d is %q", seq, got)
		case errors.Is(err, ErrDamaged) && damagedToo:
		case !errors.As(err, new(*MissingError)):
			t.Fatalf("record %d: %v", seq, err)
		}
	}
	return there
}

// A crash may leave any part of what was written last.
func TestATornEndIsCutAtEveryByte(t *testing.T) {
	const newest = 80
	all := written(t, newest)
	names := slices.Sorted(maps.Keys(all))
	last := names[len(names)-1]
	whole := all[last]
	first, _ := segmentFirst(last)
	if len(whole) < headerBytes+100 {
		t.Fatalf("only %d bytes are in the last segment", len(whole))
	}
	for size := range whole {
		for _, tail := range [][]byte{nil, {0}, make([]byte, 100), bytes.Repeat([]byte{0xff}, 50)} {
			all[last] = append(bytes.Clone(whole[:size]), tail...)
			files := image(all)
			j := open(t, small(files))
			want := first - 1
			for at := headerBytes; at < size && size >= headerBytes; want++ {
				if at += frameSize(whole[at:]); at > size {
					break
				}
			}
			if size < headerBytes { // the head is gone with it
				want = first - 1
			}
			if j.Newest() != want {
				t.Fatalf("cut at %d of %d with %d bytes of junk: newest is %d, want %d", size, len(whole), len(tail), j.Newest(), want)
			}
			add(t, j, want+1, newest+20)
			has(t, j, 51, newest+20)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if s := open(t, small(files)).Stats(); s.TornBytes != 0 || s.Damaged != 0 || s.Newest != newest+20 || s.Gaps != 1 {
				t.Fatalf("cut at %d: opened again: %+v", size, s)
			}
		}
	}
}

// Whatever bit turns over, no record is told wrong, and all that is lost can be put back.
func TestEveryFlippedBitIsFound(t *testing.T) {
	const newest = 80
	all := written(t, newest)
	step := 1
	if testing.Short() {
		step = 7
	}
	for name, whole := range all {
		for at := 0; at < len(whole); at += step {
			spoiled := bytes.Clone(whole)
			spoiled[at] ^= 1 << (at % 8)
			all[name] = spoiled
			files := image(all)
			j := open(t, small(files))
			there := faithful(t, j, newest, true)
			if there < newest-10-40 {
				t.Fatalf("%s: byte %d: only %d records are left", name, at, there)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			heal(t, files, newest)
		}
		all[name] = whole
	}
}

// heal does what ErrDamaged says to do, then puts everything back.
func heal(t *testing.T, files Files, newest uint64) {
	t.Helper()
	j := open(t, small(files))
	for seq := uint64(1); seq <= newest; seq++ {
		if _, err := j.Read(seq); errors.Is(err, ErrDamaged) {
			_, text, _ := strings.Cut(err.Error(), ": ")
			name, _, _ := strings.Cut(text, " ")
			_ = j.Close()
			if err := files.Rename(name, "aside"); err != nil {
				t.Fatalf("%v, but %v", text, err)
			}
			heal(t, files, newest)
			return
		}
	}
	for _, g := range j.Gaps() {
		if err := j.Fill(g.First, records(g.First, g.Last)); err != nil {
			t.Fatal(err)
		}
	}
	add(t, j, j.Newest()+1, newest)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, small(files))
	for seq := newest; seq > 0; seq-- {
		if got, err := j.Read(seq); errors.Is(err, ErrGone) {
			break // the oldest segment was lost whole, which cannot be told from a dropped one
		} else if err != nil || !bytes.Equal(got, record(seq)) {
			t.Fatalf("record %d after healing: %q, %v", seq, got, err)
		}
	}
	_ = j.Close()
}

// The machine loses power: what was synced is there, and nothing is told wrong.
func TestWhatWasSyncedSurvivesThePower(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := &breaking{Files: Memory()}
		j := open(t, small(disk))
		newest, synced := uint64(0), []uint64{}
		for range rng.IntN(200) {
			newest++
			add(t, j, newest, newest)
			switch rng.IntN(20) {
			case 0:
				if err := j.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = slices.DeleteFunc(upTo(newest), func(seq uint64) bool { _, err := j.Read(seq); return err != nil })
			case 1:
				_ = j.Flush()
			case 2:
				newest += rng.Uint64N(12)
			case 3, 4:
				fillBegin(t, j, rng)
			}
		}
		files := disk.stop(rng)
		kill(j)
		j = open(t, small(files))
		faithful(t, j, newest, false)
		for _, seq := range synced {
			if _, err := j.Read(seq); err != nil {
				t.Fatalf("seed %d: record %d was synced: %v", seed, seq, err)
			}
		}
		add(t, j, j.Newest()+1, newest+30)
		for _, g := range j.Gaps() {
			if err := j.Fill(g.First, records(g.First, g.Last)); err != nil {
				t.Fatal(err)
			}
		}
		has(t, j, 1, newest+30)
		_ = j.Close()
	}
}

func upTo(newest uint64) (seqs []uint64) {
	for seq := uint64(1); seq <= newest; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

// fillBegin fills the lower end of the oldest gap.
func fillBegin(t *testing.T, j *Journal, rng *rand.Rand) {
	t.Helper()
	if gaps := j.Gaps(); len(gaps) > 0 {
		g := gaps[0]
		if err := j.Fill(g.First, records(g.First, g.First+rng.Uint64N(g.Last-g.First+1))); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk stops the journal for good, not its readers; a restart finds what was written.
func TestTheFirstFailedWriteIsTheLast(t *testing.T) {
	for writes := 1; writes < 25; writes++ {
		disk := &breaking{Files: Memory(), writes: writes, short: writes%2 == 0}
		j := open(t, small(disk))
		seq := uint64(0)
		var failure error
		for failure == nil && seq < 1000 {
			seq++
			if failure = j.Append(seq, record(seq)); failure == nil && seq%3 == 0 {
				failure = j.Flush()
			}
		}
		disk.full = false // room again, but what was to be written is not there
		for _, again := range []error{j.Append(seq, record(seq)), j.Append(seq+1, record(seq+1)), j.Sync(), j.Flush(), j.Drop(1)} {
			if failure == nil || !errors.Is(again, errFull) || again.Error() != failure.Error() {
				t.Fatalf("after %d writes: %v, then %v", writes, failure, again)
			}
		}
		if !j.Stats().Failed {
			t.Error("stats do not tell")
		}
		faithful(t, j, seq, false)
		if err := j.Close(); !errors.Is(err, errFull) {
			t.Errorf("close: %v", err)
		}
		j = open(t, small(disk.Files))
		if there := faithful(t, j, seq, false); there != int(j.Newest()) {
			t.Errorf("%d records of %d", there, j.Newest())
		}
		add(t, j, j.Newest()+1, seq+10)
		has(t, j, 1, seq+10)
	}
}

func TestASyncThatFailsIsNotTriedAgain(t *testing.T) {
	disk := &breaking{Files: Memory()}
	j := open(t, small(disk))
	add(t, j, 1, 3)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	disk.full = true
	err := j.Sync()
	disk.full = false
	if again := j.Sync(); !errors.Is(err, errFull) || !errors.Is(again, errFull) {
		t.Errorf("sync: %v, then %v", err, again)
	}
}

func TestANewerSegmentIsLeftAlone(t *testing.T) {
	all := written(t, 80)
	for name, whole := range all {
		newer := bytes.Clone(whole)
		newer[8]++
		reseal(newer)
		files := image(map[string][]byte{name: newer})
		if _, err := Open("", small(files)); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), name) {
			t.Fatalf("%v", err)
		}
		if !bytes.Equal(contents(files, name), newer) {
			t.Error("it was changed")
		}
	}
}

func TestSegmentsThatOverlapAreRefused(t *testing.T) {
	all := written(t, 40)
	names := slices.Sorted(maps.Keys(all))
	first, _ := segmentFirst(names[1])
	s := newSegment(first-1, first-2, small(nil).Now())
	s.put(frameHead(first-1, record(first-1)), record(first-1))
	all[s.name] = s.buf
	if _, err := Open("", small(image(all))); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "move the one") {
		t.Errorf("%v", err)
	}
}

// Reading a journal offline, of a node that crashed, changes nothing.
func TestReadOnlyRepairsNothing(t *testing.T) {
	all := written(t, 80)
	names := slices.Sorted(maps.Keys(all))
	all[names[2]][headerBytes+frameBytes] ^= 1
	last := names[len(names)-1]
	all[last] = all[last][:len(all[last])-3]
	delete(all, names[len(names)-2])
	files := image(all)
	c := small(files)
	c.ReadOnly = true
	j := open(t, c)
	if there := faithful(t, j, 80, true); there < 40 {
		t.Errorf("%d records", there)
	}
	for what, err := range map[string]error{
		"append": j.Append(j.Newest()+1, record(1)), "sync": j.Sync(), "fill": j.Fill(41, records(41, 50)), "drop": j.Drop(9),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	for name, want := range all {
		if !bytes.Equal(contents(files, name), want) {
			t.Errorf("%s was changed", name)
		}
	}
}

// Two records in each other's place are as they were written, but not where.
func TestMisplacedRecordsAreFound(t *testing.T) {
	files := Memory()
	j := open(t, small(files))
	for seq := uint64(1); seq <= 3; seq++ {
		if err := j.Append(seq, []byte{'r', byte(seq)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b := contents(files, segmentName(1))
	const size = frameBytes + 2
	first, second := bytes.Clone(b[headerBytes:][:size]), bytes.Clone(b[headerBytes+size:][:size])
	copy(b[headerBytes:], second)
	copy(b[headerBytes+size:], first)
	j = open(t, small(image(map[string][]byte{segmentName(1): b})))
	if got, err := j.Read(1); err == nil {
		t.Errorf("record 1 is %q", got)
	}
	if got, err := j.Read(2); err == nil {
		t.Errorf("record 2 is %q", got)
	}
}

// What stands in the place of a damaged segment is as old as that was: what was dropped before it stays gone.
func TestADamagedOldestSegmentIsFilledAgain(t *testing.T) {
	all := written(t, 80)
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names[:2] {
		delete(all, name)
	}
	oldest, _ := segmentFirst(names[2])
	all[names[2]][headerBytes+frameBytes] ^= 1
	j := open(t, small(image(all)))
	if gaps := j.Gaps(); len(gaps) != 1 { // it is sealed, and not one of the newest two: damage shows when it is read
		t.Fatalf("gaps %v", gaps)
	}
	b := all[names[2]]
	all[names[2]] = b[:len(b)-1]
	files := image(all)
	j = open(t, small(files))
	next, _ := segmentFirst(names[3])
	if got := j.Gaps(); len(got) != 2 || got[0] != (Gap{oldest, next - 1}) {
		t.Fatalf("gaps %v", got)
	}
	if err := j.Fill(oldest, records(oldest, next-1)); err != nil {
		t.Fatal(err)
	}
	misses(t, j, oldest-1, ErrGone, oldest)
	has(t, j, oldest, 40)
	if !bytes.Equal(contents(files, names[2]+damaged), all[names[2]]) {
		t.Error("the damaged segment was not kept aside")
	}
}

// So is what was damaged behind a gap in front: that gap stays one.
func TestADamagedSegmentBehindAGapIsFilledAgain(t *testing.T) {
	files := Memory()
	j := open(t, small(files))
	add(t, j, 1001, 1060)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := files.List()
	all := map[string][]byte{}
	for _, name := range names {
		all[name] = contents(files, name)
	}
	b := all[names[0]]
	b[headerBytes+frameBytes] ^= 1
	all[names[0]] = b[:len(b)-1]
	j = open(t, small(image(all)))
	next, _ := segmentFirst(names[1])
	if got := j.Gaps(); len(got) != 1 || got[0] != (Gap{1, next - 1}) {
		t.Fatalf("gaps %v", got)
	}
	if err := j.Fill(1001, records(1001, next-1)); err != nil {
		t.Fatal(err)
	}
	misses(t, j, 1000, ErrGap, 1001)
	has(t, j, 1001, 1060)
}

func TestAHeadThatCannotBeIsNoHead(t *testing.T) {
	all := written(t, 40)
	names := slices.Sorted(maps.Keys(all))
	last := names[len(names)-1]
	copy(all[last][20:28], []byte{200, 1})
	reseal(all[last])
	first, _ := segmentFirst(last)
	if j := open(t, small(image(all))); j.Newest() != first-1 {
		t.Errorf("newest is %d, want %d", j.Newest(), first-1)
	}
}
