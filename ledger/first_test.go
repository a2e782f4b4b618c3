package ledger

import (
	"bytes"
	"encoding/base64"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oldLog reads a log that an older version wrote: the stamp, command and reply of each entry, where it took its snapshot, and what
// its last line says of the journal.
func oldLog(t *testing.T, file string) (all []past, snapshot int, end string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bytesOf := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch len(words) {
		case 1:
			snapshot = len(all)
			continue
		case 2:
			end = strings.TrimSpace(line)
			continue
		}
		var n [4]int64 // term, index, wall and, since version 2, elapsed
		for i := range len(words) - 2 {
			if n[i], err = strconv.ParseInt(words[i], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		at := Stamp{Term: uint64(n[0]), Index: uint64(n[1]), Wall: time.Unix(0, n[2]), Elapsed: time.Duration(n[3])}
		all = append(all, past{at, bytesOf(words[len(words)-2]), bytesOf(words[len(words)-1])})
	}
	return all, snapshot, end
}

// A log of version 1 leads to the same replies, whether it is applied from the beginning or behind a snapshot, and to one
// state; the journal begins with the first command of version 2, at the same place for all.
func TestLogOfVersionOneIsReadAsItWasMeant(t *testing.T) {
	all, middle, _ := oldLog(t, "testdata/v1.log")
	image, err := os.ReadFile("testdata/v1.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	whole, behind := newDesk(t, DefaultConfig()), newDesk(t, DefaultConfig())
	if err := behind.m.Restore(bytes.NewReader(image)); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		for _, d := range []*desk{whole, behind} {
			if d == behind && i < middle {
				continue
			}
			reply, err := d.m.Apply(p.at, p.command)
			if entries := len(p.reply) > 1 && p.reply[1] == repliesEntries; err != nil || (!entries && !bytes.Equal(reply, p.reply)) {
				t.Errorf("entry %d: %q is answered %q, was %q; %v", p.at.Index, p.command, reply, p.reply, err)
			}
		}
	}
	if whole.m.head.seq != 0 || len(whole.log.events) != 0 {
		t.Errorf("version 1 made %d events", len(whole.log.events))
	}
	for _, d := range []*desk{whole, behind} {
		d.at = all[len(all)-1].at
		d.at.Index++
		if r := d.debit("first of version 2", 1); r.Outcome != Done || r.Event != 1 {
			t.Errorf("%+v", r)
		}
		// The retry of a command that version 1 did is its repetition, though version 2 writes it otherwise.
		if r := d.debit("soon gone", 3); !r.Replayed || r.Outcome != Done {
			t.Errorf("%+v", r)
		}
		_, err := d.Debit(t.Context(), Debit{Key: "soon gone", Account: "a", Amount: 3})
		wantError(t, err, ErrConflict) // with another overshoot it is another debit
		if got := d.movements(); len(got) != 1 || got[0][:5] != "debit" {
			t.Errorf("%q", got)
		}
		if audit, err := Verify(d.log.all(), d.m); err != nil || audit.Found > 0 {
			t.Errorf("%v, %q", err, audit.Differences)
		}
	}
	if whole.m.Digest() != behind.m.Digest() {
		t.Error("a snapshot of version 1 leads to another state than its log")
	}
	if !bytes.Equal(whole.snapshot(), behind.snapshot()) {
		t.Error("and to another snapshot")
	}
}

func TestDamagedSnapshotOfAnOlderVersionIsSeen(t *testing.T) {
	for _, file := range []string{"testdata/v1.snapshot", "testdata/v2.snapshot"} {
		image, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range image {
			b := bytes.Clone(image)
			b[i] ^= 1
			if err := NewMachine(DefaultConfig()).Restore(bytes.NewReader(b)); err == nil {
				t.Fatalf("%s flipped at %d: restored", file, i)
			}
		}
	}
}
