package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"time"
)

func someCommands() []command {
	t0 := time.Unix(dawn, 5).UTC()
	return []command{
		&OpenAccount{Key: "k", Account: "a", Plan: "pro", Labels: []Label{{"n", "v"}, {"o", ""}}, UseCredits: true, Overdraft: 7},
		&Grant{Key: "k", Account: "a", Grant: "g", Kind: Credit, Amount: 1 << 40, Priority: 3, Effective: t0, Expires: t0.Add(1)},
		&Debit{Key: "k", Account: "a", Amount: 5, Order: []Kind{Overdraft, Promo}, Memo: "né"},
		&Return{Key: "k", Account: "a", Debit: "d", Amount: 5},
		&readAccount{"a"},
		&readEntries{"a", 7, 9},
	}
}

// What is read is written back byte for byte, and whatever comes, the machine answers and stays sound.
func FuzzApply(f *testing.F) {
	for _, c := range someCommands() {
		f.Add(encodeCommand(c))
	}
	f.Add([]byte("\x02"))
	f.Add([]byte("\x01\x03\x01k\x01a\x81\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommand(b)
		if c != nil && !errors.Is(err, ErrNewer) && !bytes.Equal(encodeCommand(c), b) {
			t.Errorf("%q reads as %+v, which is written as %q", b, c, encodeCommand(c))
		}
		d := newDesk(t, DefaultConfig())
		d.open(5)
		d.grant(Grant{Grant: "i", Amount: 10})
		d.debit("d", 3)
		reply := d.m.Apply(d.at, b)
		again := d.m.Apply(d.at, b)
		if len(reply) < 2 || reply[1] == repliesReceipt && !bytes.Equal(again, replay(reply)) {
			t.Errorf("%q is answered %q, then %q", b, reply, again)
		}
		if err == nil && reply[1] != repliesRefusal && reply[1] != repliesReplay {
			var r Receipt
			var a Account
			var e []Entry
			_, notReceipt := decodeReceipt(reply)
			notAccount := decodeReply(reply, repliesAccount, a.wire)
			notEntries := decodeReply(reply, repliesEntries, func(c *coder) { wireEntries(c, &e) })
			if notReceipt != nil && notAccount != nil && notEntries != nil {
				t.Errorf("own reply %q is unreadable: %v, %+v", reply, notReceipt, r)
			}
		}
	})
}

func FuzzReply(f *testing.F) {
	d := worked(f)
	f.Add(d.m.Apply(d.at, encodeCommand(&Debit{Key: "taken", Account: "a", Amount: 25})))
	f.Add(d.m.Apply(d.at, encodeCommand(&Debit{Key: "new", Account: "a", Amount: 2})))
	f.Add(d.m.Apply(d.at, encodeCommand(&readAccount{"b"})))
	f.Add(d.m.Apply(d.at, encodeCommand(&readEntries{"b", 0, 9})))
	f.Add(d.m.Apply(d.at, encodeCommand(&readAccount{"x"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeReceipt(b); err == nil && !r.Replayed && !bytes.Equal(encodeReply(repliesReceipt, r.wire), b) {
			t.Errorf("receipt %q reads as %+v", b, r)
		}
		var a Account
		if err := decodeReply(b, repliesAccount, a.wire); err == nil && !bytes.Equal(encodeReply(repliesAccount, a.wire), b) {
			t.Errorf("account %q reads as %+v", b, a)
		}
		var e []Entry
		entries := func(c *coder) { wireEntries(c, &e) }
		if err := decodeReply(b, repliesEntries, entries); err == nil && !bytes.Equal(encodeReply(repliesEntries, entries), b) {
			t.Errorf("entries %q read as %+v", b, e)
		}
	})
}

// FuzzRestore gives each input the checksum it needs to be looked at. What is accepted is written back byte for
// byte, and the machine that took it in works.
func FuzzRestore(f *testing.F) {
	small := newDesk(f, DefaultConfig())
	small.open(5)
	small.grant(Grant{Grant: "i", Amount: 10})
	small.debit("d", 12)
	small.giveBack("r", "d", 3)
	small.giveBack("bar", "x", 0)
	for _, image := range [][]byte{small.snapshot(), newDesk(f, DefaultConfig()).snapshot()} {
		f.Add(image[:len(image)-sha256.Size])
	}
	f.Add([]byte(snapshotMagic + "\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		image := append(bytes.Clone(b), sum[:]...)
		d := newDesk(t, DefaultConfig())
		if err := d.m.Restore(bytes.NewReader(image)); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("got %v", err)
			}
			return
		}
		if !bytes.Equal(d.snapshot(), image) {
			t.Errorf("%q is written as %q", image, d.snapshot())
		}
		d.at.Wall = time.Unix(0, max(d.m.now, 1))
		for _, c := range []command{&readAccount{"a"}, &Debit{Key: "new", Account: "a", Amount: 1}, &Return{Key: "newer", Account: "a", Debit: "new"}} {
			d.m.Apply(d.at, encodeCommand(c))
		}
	})
}
