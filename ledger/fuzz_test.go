package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"testing"
	"time"
)

func someCommands() []command {
	t0 := time.Unix(dawn, 5).UTC()
	plan, yes, limit := "pro", true, Credits(9)
	labels := []Label{{"n", "v"}, {"o", ""}}
	return []command{
		&OpenAccount{Key: "k", Account: "a", Plan: "pro", Labels: labels, UseCredits: true, Overdraft: 7, Blocked: true},
		&UpdateAccount{Key: "k", Account: "a", Plan: &plan, Relabel: true, Labels: labels, UseCredits: &yes, Overdraft: &limit, Blocked: &yes, Memo: "m"},
		&Grant{Key: "k", Account: "a", Grant: "g", Kind: Credit, Amount: 1 << 40, Priority: 3, Effective: t0, Expires: t0.Add(1), AppliesTo: labels},
		&Grant{Key: "k", Account: "a", Kind: Promo, Amount: 1 << 40, Every: Weekly, Zone: "Asia/Tokyo", Rollover: 4},
		&VoidGrant{Key: "k", Account: "a", Grant: "i", Memo: "m"},
		&Debit{Key: "k", Account: "a", Amount: 5, Order: []Kind{Overdraft, Promo}, Memo: "né", Overshoot: Overdraw, Attributes: labels},
		&Return{Key: "k", Account: "a", Debit: "d", Amount: 3},
		&Authorize{Key: "k", Account: "a", Amount: 5, TTL: time.Hour, Partial: true, Order: []Kind{Included}, Attributes: labels, OnExpire: CaptureRest, Late: LateReject, Memo: "m"},
		&Extend{Key: "k", Hold: "h", Amount: 1, TTL: time.Hour, Memo: "m"},
		&Capture{Key: "k", Hold: "h", Amount: 2, Final: true, Overshoot: Deny, Memo: "m"},
		&Release{Key: "k", Hold: "h", Memo: "m"},
		&Refund{Key: "k", Charge: "d", Amount: 1, Memo: "m"},
		&Adjust{Key: "k", Account: "a", Amount: -1, Kind: Included, Memo: "m"},
		&SetCursor{Name: "n", Seq: 2, Rewind: true, Remove: true},
		&tick{},
		&compare{count: 4096},
		&ask{string(encodeQuery(&query{what: asksAccount, id: "a"}))},
		&Lend{Account: "a", Home: "n1", Incarnation: 7, Nonce: 2, Want: 5, TTL: time.Minute, Order: []Kind{Promo}, Attributes: labels},
		&Report{Allowance: 5, Home: "n1", Incarnation: 7, First: 1, Items: []Item{{"i", 2, "m", true}, {"j", 3, "", false}, {"j", -1, "", false}}, Spent: 5, Final: true},
		&readAccount{"a"},
		&readEntries{"a", 7, 9},
	}
}

// What is read is written back byte for byte, and whatever comes, the machine answers and stays sound.
func FuzzApply(f *testing.F) {
	for _, c := range someCommands() {
		f.Add(encodeCommand(c))
		if c.op().since() == wireFirst {
			f.Add(encodeAs(c, wireFirst))
		}
	}
	f.Add([]byte{wireNewest + 1})
	f.Add([]byte("\x01\x03\x01k\x01a\x81\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, format, err := decodeCommand(string(b))
		if err == nil && !bytes.Equal(encodeAs(c, format), b) {
			t.Errorf("%q reads as %+v, which is written as %q", b, c, encodeAs(c, format))
		}
		d := newDesk(t, lending())
		d.open(5)
		d.grant(Grant{Grant: "i", Amount: 40})
		d.debit("d", 3)
		d.done(d.Authorize(t.Context(), Authorize{Key: "h", Account: "a", Amount: 4, TTL: time.Hour}))
		d.report(reporting(d.lend(1).Allowance, 0, 1, "x", 1)) // allowance 5
		reply, stopped := d.m.Apply(d.at, b)
		if stopped != nil {
			if !errors.Is(stopped, ErrNewer) {
				t.Errorf("%q stops the replica: %v", b, stopped)
			}
			return
		}
		again, err := d.m.Apply(d.at, b)
		_, keyed := c.(intent)
		if len(reply) < 2 || err != nil || keyed && reply[1] == repliesReceipt && again[1] != repliesReplay {
			t.Errorf("%q is answered %q, then %q, %v", b, reply, again, err)
		}
		if reply[1] == repliesReceipt || reply[1] == repliesReplay {
			if _, err := decodeReceipt(string(reply)); err != nil {
				t.Errorf("own reply %q is unreadable: %v", reply, err)
			}
		}
		if audit, err := Verify(d.log.all(), d.m); err != nil || audit.Found > 0 || d.m.Verify() != nil {
			t.Errorf("%q leaves %q, %v, %v", b, audit.Differences, err, d.m.Verify())
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add(encodeQuery(&query{what: asksAccount, id: "a"}))
	f.Add(encodeQuery(&query{what: asksHold, id: "open hold"}))
	f.Add(encodeQuery(&query{what: asksPage, page: PageQuery{Account: "a", Limit: 3, Oldest: true}}))
	f.Add(encodeQuery(&query{what: asksPage, page: PageQuery{Account: "a", Limit: 3, Before: "3.5"}}))
	f.Add(encodeQuery(&query{what: asksStatus}))
	f.Add(encodeQuery(&query{what: asksAllowances, id: "a"}))
	f.Add([]byte{wireNewest + 1, 0})
	d := worked(f)
	before := d.m.Digest()
	f.Fuzz(func(t *testing.T, b []byte) {
		reply := d.m.Query(b)
		err := decodeReply(string(reply), func(what uint8, c *coder) {
			switch what {
			case repliesAccount:
				(&Account{}).wire(c)
			case repliesHold:
				(&Hold{}).wire(c)
			case repliesPage:
				(&Page{}).wire(c)
			case repliesStatus:
				(&Status{}).wire(c)
			case repliesAllowances:
				wireAllowances(&[]Allowance{}, c)
			default:
				c.fail(errRange)
			}
		})
		if errors.Is(err, ErrCorrupt) || d.m.Digest() != before {
			t.Errorf("%q is answered %q: %v", b, reply, err)
		}
	})
}

func FuzzEvent(f *testing.F) {
	d := worked(f)
	for _, e := range append(slices.Clone(d.log.events[:3]), d.log.events[len(d.log.events)-9:]...) {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := DecodeEvent(b); err == nil && !bytes.Equal(e.Encode(), b) {
			t.Errorf("%q reads as %+v, which is written as %q", b, e, e.Encode())
		}
		a := NewAudit()
		a.Add(b)
		a.Add(b)
		if a.Found == 0 {
			t.Errorf("%q follows itself", b)
		}
	})
}

func FuzzReply(f *testing.F) {
	d := worked(f)
	for _, c := range []command{
		&Debit{Key: "taken", Account: "a", Amount: 25, Overshoot: Deny}, &Debit{Key: "new", Account: "a", Amount: 2},
		&Extend{Key: "x", Hold: "open hold", TTL: time.Minute}, &tick{}, &ask{string(encodeQuery(&query{what: asksStatus}))},
		&ask{string(encodeQuery(&query{what: asksPage, page: PageQuery{Account: "b", Limit: 9}}))}, &readAccount{"b"}, &readAccount{"x"},
		&ask{string(encodeQuery(&query{what: asksAllowances, id: "a"}))}, &Report{Allowance: 1, Home: "n1"},
	} {
		f.Add(d.apply(c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again := coder{}
		var allowances []Allowance
		err := decodeReply(string(b), func(what uint8, c *coder) {
			shapes := map[uint8]func(*coder){
				repliesReceipt: (&Receipt{}).wire, repliesAccount: (&Account{}).wire, repliesHold: (&Hold{}).wire, repliesPage: (&Page{}).wire,
				repliesStatus: (&Status{}).wire, repliesAllowances: func(c *coder) { wireAllowances(&allowances, c) },
			}
			wire := shapes[what]
			if wire == nil {
				c.fail(errRange)
				return
			}
			if wire(c); c.err == nil {
				again.version(c.format)
				again.byte(&what)
				wire(&again)
			}
		})
		if err == nil && !bytes.Equal(again.b, b) {
			t.Errorf("%q is written as %q", b, again.b)
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
	small.done(small.Authorize(f.Context(), Authorize{Key: "h", Account: "a", Amount: 1, TTL: time.Hour}))
	small.grant(Grant{Grant: "j", Amount: 2 * DefaultConfig().Direct})
	small.report(reporting(small.lend(1).Allowance, 0, 2, "x", 2))
	first, err1 := os.ReadFile("testdata/v1.snapshot")
	second, err2 := os.ReadFile("testdata/v2.snapshot")
	if err := errors.Join(err1, err2); err != nil {
		f.Fatal(err)
	}
	for _, image := range [][]byte{small.snapshot(), newDesk(f, DefaultConfig()).snapshot(), first, second} {
		f.Add(image[:len(image)-sha256.Size])
	}
	f.Add([]byte(snapshotMagic + "\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		image := append(bytes.Clone(b), sum[:]...)
		d := newDesk(t, DefaultConfig())
		d.m.config.Journal = nil // it may be anywhere
		if err := d.m.Restore(bytes.NewReader(image)); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("got %v", err)
			}
			return
		}
		if image[len(snapshotMagic)] == snapshotNewest && !bytes.Equal(d.snapshot(), image) {
			t.Errorf("%q is written as %q", image, d.snapshot())
		}
		d.at.Wall, d.at.Elapsed = time.Unix(0, max(d.m.head.now, 1)), d.m.head.elapsed
		for _, c := range []command{&readAccount{"a"}, &tick{}, &Debit{Key: "new", Account: "a", Amount: 1}, &Return{Key: "newer", Account: "a", Debit: "new"}, &Lend{Account: "a", Home: "n1", Incarnation: 9, Want: 9, TTL: time.Hour}} {
			if _, err := d.m.Apply(d.at, encodeCommand(c)); err != nil {
				t.Errorf("%q: %s: %v", image, c.op(), err)
			}
		}
	})
}
