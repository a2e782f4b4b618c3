package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"
	"time"
)

// encoded is a snapshot of the sections.
func encoded(t testing.TB, cluster, server string, sections map[uint16]*section) []byte {
	t.Helper()
	var b bytes.Buffer
	x := writeSnapshot(&b, cluster, server)
	for _, p := range slices.Sorted(maps.Keys(sections)) {
		x.section(sections[p])
	}
	if err := x.end(); err != nil || x.bytes != int64(b.Len()) {
		t.Fatal(x.bytes, b.Len(), err)
	}
	return b.Bytes()
}

// versioned is the head of a snapshot of another version, with what may come after it.
func versioned(version uint64) []byte {
	b := binary.AppendUvarint([]byte(snapshotMagic), version)
	return append(sum(b), "whatever that version has"...)
}

// sum appends the checksum.
func sum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func sampleSections() map[uint16]*section {
	few := &section{partition: 0, tenure: 1 << 40, at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}
	few.add(pieceBuckets, []byte("some buckets"))
	few.add(pieceRecords, []byte("records"))
	few.add(pieceBuckets, nil)
	return map[uint16]*section{0: few, 7: {partition: 7, tenure: 1}, 4095: {partition: 4095, tenure: 3, epoch: 9, at: -1}}
}

func TestASnapshotIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := sampleSections()
	b := encoded(t, "c", me, want)
	cluster, got, err := readSnapshot(bytes.NewReader(b), me)
	if err != nil || cluster != "c" || len(got) != len(want) {
		t.Fatal(cluster, got, err)
	}
	for p, w := range want {
		g := got[p]
		if g.partition != w.partition || g.tenure != w.tenure || g.epoch != w.epoch || g.at != w.at || !bytes.Equal(g.pieces, w.pieces) {
			t.Errorf("partition %d: %+v, want %+v", p, g, w)
		}
	}
	if again := encoded(t, cluster, me, got); !bytes.Equal(again, b) {
		t.Error("it is written another way")
	}
}

func TestEveryFlippedCutOrAddedByteOfASnapshotIsDetected(t *testing.T) {
	t.Parallel()
	b := encoded(t, "c", me, sampleSections())
	refused := func(what string, i int, b []byte) {
		t.Helper()
		if _, _, err := readSnapshot(bytes.NewReader(b), me); !errors.Is(err, errDamaged) {
			t.Errorf("%s %d: %v", what, i, err)
		}
	}
	for i := range b {
		for bit := range 8 {
			flipped := slices.Clone(b)
			flipped[i] ^= 1 << bit
			refused("flipped byte", i, flipped)
		}
		refused("cut to", i, b[:i])
		refused("without byte", i, slices.Concat(b[:i], b[i+1:]))
		refused("zeros from", i, append(slices.Clone(b[:i]), make([]byte, len(b)-i)...))
	}
	refused("added", 1, append(slices.Clone(b), 0))
	refused("twice", 2, append(slices.Clone(b), b...))
}

// What has the right checksums may be wrong all the same.
func TestASnapshotThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	head := encoded(t, "c", me, nil)
	head = head[:len(head)-2-checksumBytes]
	with := func(parts ...[]byte) []byte {
		b := slices.Clone(head)
		for _, part := range parts {
			b = sum(append(binary.AppendUvarint(b, uint64(len(part))), part...))
		}
		return sum(binary.AppendUvarint(append(b, 0), uint64(len(parts))))
	}
	good := (&section{partition: 1, tenure: 1}).appendHead(nil)
	for i, row := range []struct {
		parts [][]byte
		good  bool
	}{
		{nil, true},
		{[][]byte{good}, true},
		{[][]byte{good, good}, false}, // twice
		{[][]byte{(&section{partition: 4096, tenure: 1}).appendHead(nil)}, false},
		{[][]byte{(&section{partition: 1}).appendHead(nil)}, false}, // of no tenure
		{[][]byte{good[:len(good)-1]}, false},
		{[][]byte{append([]byte{0x81, 0}, good[1:]...)}, false}, // a number written in another way
		{[][]byte{append(slices.Clone(good), 3, 0)}, false},     // a piece of an unknown kind
		{[][]byte{append(slices.Clone(good), pieceBuckets)}, false},
		{[][]byte{append(slices.Clone(good), pieceBuckets, 2, 'x')}, false},
		{[][]byte{append(slices.Clone(good), pieceBuckets, 1, 'x')}, true},
	} {
		if _, got, err := readSnapshot(bytes.NewReader(with(row.parts...)), me); (err == nil) != row.good || !row.good && !errors.Is(err, errDamaged) {
			t.Errorf("row %d: %v, %v", i, got, err)
		}
	}
	if _, _, err := readSnapshot(bytes.NewReader(sum(binary.AppendUvarint(append(slices.Clone(head), 0), 1))), me); !errors.Is(err, errDamaged) {
		t.Errorf("one section is promised and none is there: %v", err)
	}
	huge := binary.AppendUvarint(slices.Clone(head), 1<<39)
	if _, _, err := readSnapshot(bytes.NewReader(huge), me); !errors.Is(err, errDamaged) {
		t.Errorf("half a terabyte is promised: %v", err)
	}
}

// failing is a disk that breaks after some bytes.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func (f *failing) Read(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errDisk
	}
	return copy(b, snapshotMagic), nil
}

func TestWhatADiskSaysIsNotTakenForDamage(t *testing.T) {
	t.Parallel()
	x := writeSnapshot(&failing{}, "c", me)
	if err := x.end(); !errors.Is(err, errDisk) {
		t.Errorf("write: %v", err)
	}
	if _, _, err := readSnapshot(&failing{}, me); !errors.Is(err, errDisk) || errors.Is(err, errDamaged) {
		t.Errorf("read: %v", err)
	}
}

// The bytes are read as a file, and as a section whose checksums are right. What is accepted is written the same way.
func FuzzSnapshotIsReadOrRefused(f *testing.F) {
	f.Add(encoded(f, "c", me, sampleSections()))
	f.Add(versioned(1))
	for _, s := range sampleSections() {
		f.Add(append(s.appendHead(nil), s.pieces...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if cluster, sections, err := readSnapshot(bytes.NewReader(b), me); err == nil {
			if again := encoded(t, cluster, me, sections); len(again) != len(b) {
				t.Errorf("%x is written as %x", b, again)
			}
		}
		s, err := readSection(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Error(err)
			}
			return
		}
		whole := encoded(t, "c", me, map[uint16]*section{s.partition: &s})
		_, sections, err := readSnapshot(bytes.NewReader(whole), me)
		if err != nil || fmt.Sprint(*sections[s.partition]) != fmt.Sprint(s) {
			t.Errorf("%x: %v", b, err)
		}
	})
}
