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

// firstLog reads testdata/v1.log, which version 1 wrote: the stamp, command and reply of each entry, and where it took
// testdata/v1.snapshot.
func firstLog(t *testing.T) (all []past, snapshot int) {
	t.Helper()
	text, err := os.ReadFile("testdata/v1.log")
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
		if len(words) == 1 {
			snapshot = len(all)
			continue
		}
		var n [3]int64
		for i := range n {
			if n[i], err = strconv.ParseInt(words[i], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		at := Stamp{Term: uint64(n[0]), Index: uint64(n[1]), Wall: time.Unix(0, n[2])}
		all = append(all, past{at, bytesOf(words[3]), bytesOf(words[4])})
	}
	return all, snapshot
}

// A log of version 1 leads to the same replies, whether it is applied from the beginning or behind a snapshot, and to one
// state; the journal begins with the first command of version 2, at the same place for all.
func TestLogOfVersionOneIsReadAsItWasMeant(t *testing.T) {
	all, middle := firstLog(t)
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

func TestDamagedSnapshotOfVersionOneIsSeen(t *testing.T) {
	image, err := os.ReadFile("testdata/v1.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	for i := range image {
		b := bytes.Clone(image)
		b[i] ^= 1
		if err := NewMachine(DefaultConfig()).Restore(bytes.NewReader(b)); err == nil {
			t.Fatalf("flipped at %d: restored", i)
		}
	}
}
