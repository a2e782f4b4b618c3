package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
)

// reseal makes the checksum of a segment's head right again.
func reseal(b []byte) {
	if len(b) >= headerBytes {
		binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
	}
}

// FuzzSegment opens a segment of any contents as the oldest, or the only one, of a journal. What opens can be read and
// appended to, and opened again without another repair.
func FuzzSegment(f *testing.F) {
	files := Memory()
	c := small(files)
	j, err := Open("", c)
	if err != nil {
		f.Fatal(err)
	}
	for seq := uint64(1); seq <= 20; seq++ {
		if err := j.Append(seq, fmt.Appendf(nil, "record %d", seq)); err != nil {
			f.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	names, _ := files.List()
	for _, name := range names {
		f.Add(contents(files, name), true)
		f.Add(contents(files, name), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, alone bool) {
		b = slices.Clone(b)
		reseal(b)
		all := map[string][]byte{segmentName(1): b}
		for _, name := range names[1:] {
			if !alone {
				all[name] = contents(files, name)
			}
		}
		image := image(all)
		c := small(image)
		j, err := Open("", c)
		if err != nil {
			if !errors.Is(err, ErrNewer) && !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		found := readable(t, j)
		newest := j.Newest() + 1
		if err := j.Append(newest, []byte("more")); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := Open("", c)
		if err != nil {
			t.Fatal(err)
		}
		if s := again.Stats(); s.Newest != newest || s.TornBytes != 0 {
			t.Fatalf("opened again: %+v, want newest %d", s, newest)
		}
		if n := readable(t, again); n != found+1 {
			t.Fatalf("%d records were there, and one more; opened again there are %d", found, n)
		}
		_ = again.Close()
	})
}

// readable counts the records that can be read; the others must say why they cannot.
func readable(t *testing.T, j *Journal) (found int) {
	t.Helper()
	for seq := uint64(1); seq <= j.Newest(); seq++ {
		got, err := j.Read(seq)
		switch {
		case err == nil && len(got) > 0:
			found++
		case err == nil || !errors.Is(err, ErrDamaged) && !errors.As(err, new(*MissingError)):
			t.Fatalf("record %d: %q, %v", seq, got, err)
		}
	}
	return found
}
