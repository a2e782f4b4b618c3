package ledger

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// A log of version 2 leads to the same replies and, byte for byte, to the same journal, whether it is applied from the beginning or
// behind a snapshot; and what version 3 does then is equal, too.
func TestLogOfVersionTwoIsReadAsItWasMeant(t *testing.T) {
	all, middle, end := oldLog(t, "testdata/v2.log")
	image, err := os.ReadFile("testdata/v2.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	whole, behind := newDesk(t, DefaultConfig()), newDesk(t, DefaultConfig())
	for i, p := range all {
		if i == middle {
			if err := behind.m.Restore(bytes.NewReader(image)); err != nil {
				t.Fatal(err)
			}
			behind.log.events = append(behind.log.events, whole.log.events...)
			if whole.m.Digest() != behind.m.Digest() {
				t.Error("a snapshot of version 2 leads to another state than its log")
			}
		}
		for _, d := range []*desk{whole, behind} {
			if d == behind && i < middle {
				continue
			}
			reply, err := d.m.Apply(p.at, p.command)
			// What is not kept under a key is answered in the newest form.
			if kept := p.reply[1] == repliesReceipt || p.reply[1] == repliesReplay; err != nil || kept && !bytes.Equal(reply, p.reply) {
				t.Errorf("entry %d: %q is answered %q, was %q; %v", p.at.Index, p.command, reply, p.reply, err)
			}
		}
	}
	for _, d := range []*desk{whole, behind} {
		if seq, chain := d.m.Events(); fmt.Sprintf("%d %x", seq, chain) != end {
			t.Errorf("the journal is %d %x, was %s", seq, chain, end)
		}
		d.at = all[len(all)-1].at
		d.at.Index++
		if r := d.debit("d0", 1); !r.Replayed {
			t.Errorf("%+v", r)
		}
		d.grant(Grant{Grant: "new", Amount: 10 * DefaultConfig().Direct})
		r := d.done(d.Lend(t.Context(), Lend{Account: "a", Home: "n1", Incarnation: 1, Nonce: 1, Want: 100, TTL: time.Minute}))
		d.report(Report{Allowance: r.Allowance, Home: "n1", Incarnation: 1, Items: items("x", 5), Spent: 5})
		d.sound()
	}
	if whole.m.Digest() != behind.m.Digest() || !bytes.Equal(whole.snapshot(), behind.snapshot()) {
		t.Error("and goes on to another one")
	}
}

// Records were written otherwise in version 2, so the digests that its leaders compared are no measure.
func TestComparisonOfVersionTwoStopsNobody(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(0)
	for range compareEvery {
		d.apply(&tick{})
	}
	count, digest := d.m.note()
	for _, format := range []uint8{wireSecond, wireNewest} {
		for _, of := range [][32]byte{digest, {1}} {
			_, err := d.m.Apply(d.at, encodeAs(&compare{count, of}, format))
			if stops := of != digest && format == wireNewest; (err != nil) != stops || count == 0 {
				t.Errorf("format %d, digest %x: %v", format, of, err)
			}
		}
	}
}

func TestAllowancesAreOfVersionThree(t *testing.T) {
	d, id := lent5(t)
	n, r := someLend(9), reporting(id, 0, 1, "x", 1)
	for _, c := range []command{&n, &r} {
		reply, err := d.m.Apply(d.at, encodeAs(c, wireSecond))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, decodeReply(string(reply), func(uint8, *coder) {}), ErrInvalid)
	}
}
