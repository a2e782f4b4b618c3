package policy

import (
	"bytes"
	"testing"
	"time"
)

// Whatever is in the log, a command is refused or has exactly one encoding, and the book stays one that a snapshot
// brings back.
func FuzzCommand(f *testing.F) {
	at := place{"demo", "alice", "user-rpm"}
	all := place{"demo", "alice", ""}
	for _, x := range []command{
		{kind: kindPut, expect: AnyVersion, note: "why", text: Demo()},
		{kind: kindOverride, place: at, terms: Terms{Rate: "600/min", Burst: 9}, until: logTime().Add(time.Hour)},
		{kind: kindUnsetOverride, place: at},
		{kind: kindBlock, place: all, why: "spam", until: logTime().Add(time.Hour)},
		{kind: kindUnblock, place: all},
		{kind: kindReset, place: all, nonce: 1 << 60, debts: time.Hour},
	} {
		f.Add(x.encode())
	}
	f.Add(append([]byte{putFormat, 0, 0, 0, 0, 0, 0, 0, 0}, Demo()...))
	f.Fuzz(func(t *testing.T, b []byte) {
		book := NewBook(nil)
		book.Apply(logTime(), put(string(Demo()), NoVersion))
		_, err := decodeReply(book.Apply(logTime(), b))
		x, ok := decodeCommand(b)
		if !ok && err == nil {
			t.Fatalf("%q is no command, and was applied", b)
		}
		if ok && b[0] == commandFormat && !bytes.Equal(x.encode(), b) {
			t.Fatalf("%q is encoded as %q", b, x.encode())
		}
		book.compile()
		fresh := NewBook(nil)
		if err := fresh.Restore(bytes.NewReader(snapshot(t, book))); err != nil || !bytes.Equal(fresh.State(0), book.State(0)) {
			t.Fatalf("after %q: %v", b, err)
		}
	})
}

// Whatever a peer or a disk says, it is refused and changes nothing, or it is a state with exactly one encoding.
func FuzzSnapshot(f *testing.F) {
	b := NewBook(nil)
	f.Add(snapshot(f, b))
	for _, x := range []command{
		{kind: kindPut, text: []byte("# first"), note: "first"},
		{kind: kindPut, text: []byte("# second"), expect: AnyVersion},
		{kind: kindOverride, place: place{"d", "a", "l"}, terms: Terms{Rate: "9/s"}, until: logTime().Add(time.Hour)},
		{kind: kindBlock, place: place{"d", "b", ""}, why: "spam"},
		{kind: kindReset, place: place{"d", "c", ""}, nonce: 7, debts: time.Hour},
	} {
		b.Apply(logTime(), x.encode())
	}
	f.Add(snapshot(f, b))
	f.Add([]byte(snapshotMagic + string(b.State(1))))
	f.Add([]byte(oldMagic + "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03abc"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := NewBook(nil)
		if err := b.Restore(bytes.NewReader(text)); err != nil {
			if revision, _ := b.Revision(); revision != 0 {
				t.Fatalf("%v, and revision %d", err, revision)
			}
		} else if again := snapshot(t, b); !bytes.HasPrefix(text, []byte(oldMagic)) && !bytes.Equal(again, text) {
			t.Fatalf("%q is encoded as %q", text, again)
		}
		learner := NewBook(nil)
		learner.Apply(logTime(), put("# first", NoVersion))
		if learner.Learn(bytes.TrimPrefix(text, []byte(snapshotMagic))) == nil {
			learner.compile()
			if err := NewBook(nil).Learn(learner.State(0)); err != nil {
				t.Fatalf("%q was learnt and cannot be passed on: %v", text, err)
			}
		}
	})
}
