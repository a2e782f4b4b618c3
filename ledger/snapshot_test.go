package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// worked is a desk at which a bit of everything has happened, with forgotten keys that wait to be dropped.
func worked(t testing.TB) *desk {
	d := newDesk(t, DefaultConfig())
	d.open(50)
	d.done(d.Open(t.Context(), OpenAccount{Key: "b", Account: "b", Plan: "pro", Labels: []Label{{"region", "eu"}}}))
	d.grant(Grant{Grant: "old", Amount: 5000, Priority: 7, Expires: d.at.Wall.Add(time.Hour)})
	for i := range dropsMax {
		d.debit(fmt.Sprint("d", i), 1)
	}
	d.pass(26 * time.Hour)
	d.grant(Grant{Grant: "plan", Kind: Promo, Amount: 10})
	d.grant(Grant{Grant: "later", Kind: Credit, Amount: 30, Effective: d.at.Wall.Add(2 * time.Hour)})
	d.debit("taken", 25)
	d.debit("too much", 1000)
	d.giveBack("back", "taken", 5)
	d.giveBack("bar", "barred", 0)
	ctx := d.t.Context()
	d.done(d.Grant(ctx, Grant{
		Key: "monthly", Account: "a", Amount: 7, Every: Monthly, Zone: "Europe/Berlin", Rollover: 3, AppliesTo: []Label{{"model", "x"}},
	}))
	d.done(d.Authorize(ctx, Authorize{Key: "open hold", Account: "a", Amount: 4, TTL: time.Hour, Order: []Kind{Promo, Credit, Included}, Attributes: []Label{{"model", "x"}}}))
	d.done(d.Authorize(ctx, Authorize{Key: "ended hold", Account: "a", Amount: 2, TTL: time.Hour, Attributes: []Label{{"model", "x"}}}))
	d.done(d.Capture(ctx, Capture{Key: "capture", Hold: "ended hold", Amount: 5, Final: true}))
	d.done(d.Refund(ctx, Refund{Key: "refund", Charge: "ended hold", Amount: 1}))
	d.done(d.Release(ctx, Release{Key: "tombstone", Hold: "never came"}))
	d.grant(Grant{Grant: "large", Kind: Credit, Amount: 10 * DefaultConfig().Direct})
	d.report(reporting(d.lend(1).Allowance, 0, 5, "x", 5))
	lapsed := d.lend(2).Allowance
	d.pass(time.Minute)
	keyed := reporting(lapsed, 0, 9, "y", 3, "z", 6)
	keyed.Items[1].Keyed = true
	d.report(keyed)
	d.lend(3)
	for _, name := range []string{"webhook", "books"} {
		if _, err := d.SetCursor(ctx, SetCursor{Name: name, Seq: 3}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *desk) snapshot() []byte {
	d.t.Helper()
	write, err := d.m.Snapshot()
	var b bytes.Buffer
	if err := errors.Join(err, write(&b)); err != nil {
		d.t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestoredMachineAnswersAsTheFirst(t *testing.T) {
	d := worked(t)
	image := d.snapshot()
	other := newDesk(t, DefaultConfig())
	other.apply(&OpenAccount{Key: "k", Account: "to be discarded"})
	m := NewMachine(d.m.config)
	if err := m.Restore(iotest.OneByteReader(bytes.NewReader(image))); err != nil {
		t.Fatal(err)
	}
	if m.Digest() != d.m.Digest() || m.Accounts() != d.m.Accounts() || m.Keys() != d.m.Keys() {
		t.Fatalf("%d accounts and %d keys, want %d and %d, or another digest", m.Accounts(), m.Keys(), d.m.Accounts(), d.m.Keys())
	}
	for i, c := range []command{
		&readAccount{"a"},
		&readEntries{"a", 900, EntriesMax},
		&readAccount{"to be discarded"},
		&Debit{Overshoot: Deny, Key: "taken", Account: "a", Amount: 25},
		&Debit{Overshoot: Deny, Key: "taken", Account: "a", Amount: 26},
		&Debit{Overshoot: Deny, Key: "d1", Account: "a", Amount: 1}, // forgotten
		&Debit{Overshoot: Deny, Key: "barred", Account: "a", Amount: 1},
		&Return{Key: "rest", Account: "a", Debit: "taken"},
		&OpenAccount{Key: "b again", Account: "b", Plan: "pro", Labels: []Label{{"region", "eu"}}},
		&readAccount{"a"},
	} {
		if i == 5 {
			d.pass(3 * time.Hour)
		}
		b := encodeCommand(c)
		want, wantErr := d.m.Apply(d.at, b)
		if got, err := m.Apply(d.at, b); !bytes.Equal(got, want) || err != nil || wantErr != nil {
			t.Errorf("%s answers %q, want %q; %v, %v", c.op(), got, want, err, wantErr)
		}
		if m.Digest() != d.m.Digest() {
			t.Fatalf("states differ after %s", c.op())
		}
	}
}

func TestSnapshotIsWrittenWhileTheLogGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := worked(t)
		want, digest := d.snapshot(), d.m.Digest()
		write, err := d.m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		written := make(chan error, 1)
		go func() { written <- write(&b) }()
		for i := range 300 {
			d.pass(10 * time.Minute)
			d.grant(Grant{Grant: fmt.Sprint("g", i), Amount: 2})
			d.debit(fmt.Sprint("e", i), 1)
			if i < 5 {
				d.giveBack(fmt.Sprint("r", i), "taken", 1)
			}
		}
		if err := <-written; err != nil || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%v, or the image moved while it was written", err)
		}
		if d.m.Digest() == digest {
			t.Error("300 debits left the digest as it was")
		}
	})
}

func TestEveryDamageToASnapshotIsSeen(t *testing.T) {
	d := newDesk(t, DefaultConfig())
	d.open(5)
	d.grant(Grant{Grant: "i", Amount: 10})
	d.debit("d", 12)
	image, before := d.snapshot(), d.m.Digest()
	try := func(what string, b []byte, want error) {
		t.Helper()
		if err := d.m.Restore(bytes.NewReader(b)); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	for i := range image {
		try(fmt.Sprint("cut at ", i), image[:i], ErrCorrupt)
		for _, bit := range []byte{1, 0x80} {
			b := bytes.Clone(image)
			b[i] ^= bit
			want := ErrCorrupt
			if i == len(snapshotMagic) && b[i] > snapshotNewest {
				want = ErrNewer
			}
			try(fmt.Sprint("flipped at ", i), b, want)
		}
	}
	try("longer", append(bytes.Clone(image), 0), ErrCorrupt)
	if d.m.Digest() != before {
		t.Error("a refused snapshot changed the state")
	}
	err := d.m.Restore(io.MultiReader(strings.NewReader(string(image[:40])), iotest.ErrReader(errLost)))
	if !errors.Is(err, errLost) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a reader that breaks gives %v", err)
	}
}

func ofAccount(harm func(*account)) func(*desk) {
	return func(d *desk) {
		slot, _ := d.m.accounts.find("a")
		var a account
		a.must(d.m.accounts.at(slot))
		harm(&a)
		d.m.accounts.replace(slot, d.m.encode(a.wire))
	}
}

func ofHold(harm func(*hold)) func(*desk) {
	return func(d *desk) {
		h, slot, _ := d.m.hold("open hold")
		harm(&h)
		d.m.holds.replace(slot, d.m.encode(h.wire))
	}
}

func ofAllowance(harm func(*hold)) func(*desk) {
	return func(d *desk) {
		all, _ := d.Allowances(d.t.Context(), "a", Read{})
		h, slot, _ := d.m.hold(lentID(all[0].ID))
		harm(&h)
		d.m.holds.replace(slot, d.m.encode(h.wire))
	}
}

// ofLapsed harms the allowance that lapsed.
func ofLapsed(harm func(*hold)) func(*desk) {
	return func(d *desk) {
		all, _ := d.Allowances(d.t.Context(), "a", Read{})
		h, slot, ok := d.m.hold(lentID(1))
		for id := all[0].ID; !ok || h.state == Open; id-- {
			h, slot, ok = d.m.hold(lentID(id))
		}
		harm(&h)
		d.m.holds.replace(slot, d.m.encode(h.wire))
	}
}

func ofKey(key string, harm func(*record)) func(*desk) {
	return func(d *desk) {
		r, _ := d.m.keys.find(key, d.m.head.hour())
		harm(&r)
		d.m.keys.replace(r.at, d.m.encode(r.wire))
	}
}

// impossible tries to restore a snapshot with a good checksum over a state that no log can lead to.
func impossible(t *testing.T, states map[string]func(*desk)) {
	t.Helper()
	for name, harm := range states {
		d := worked(t)
		harm(d)
		if err := NewMachine(DefaultConfig()).Restore(bytes.NewReader(d.snapshot())); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := d.m.Verify(); err == nil {
			t.Errorf("%s: the live state verifies", name)
		}
	}
	if err := worked(t).m.Verify(); err != nil {
		t.Error(err)
	}
}

func TestRestoreRefusesAnImpossibleState(t *testing.T) {
	impossible(t, map[string]func(*desk){
		"books do not balance":   ofAccount(func(a *account) { a.books[Spent]++ }),
		"grants out of order":    ofAccount(func(a *account) { a.grants[0], a.grants[1] = a.grants[1], a.grants[0] }),
		"two grants of one id":   ofAccount(func(a *account) { a.grants[1].id = a.grants[0].id }),
		"grant without amount":   ofAccount(func(a *account) { a.grants[len(a.grants)-1].amount = 0 }),
		"event of the future":    ofAccount(func(a *account) { a.last = 1 << 40 }),
		"account without a name": ofAccount(func(a *account) { a.id = "" }),
		"unknown zone":           ofAccount(func(a *account) { a.series[0].zone = "Nowhere/Land" }),
		"held by no hold":        ofAccount(func(a *account) { a.grants[1].held++; a.books[Held]++; a.books[Spent]--; a.grants[1].amount++ }),
		"one more open hold":     ofAccount(func(a *account) { a.open++ }),
		"account twice":          func(d *desk) { d.m.accounts.push(d.m.accounts.at(0)) },
		"hold that captured":     ofHold(func(h *hold) { h.takes[0].spent++ }),
		"open hold refunded":     ofHold(func(h *hold) { h.takes[0].spent, h.takes[0].back, h.authorized = 1, 1, h.authorized+1 }),
		"hold of nobody":         ofHold(func(h *hold) { h.account = "nobody" }),
		"hold like an allowance": ofHold(func(h *hold) { h.id = lentID(1) }),
		"hold twice":             func(d *desk) { d.m.holds.push(d.m.holds.at(0)) },
		"key of no account":      ofKey("taken", func(r *record) { r.account = "nobody" }),
		"key of a tick":          ofKey("taken", func(r *record) { r.op = opTick }),
		"returned more":          ofKey("taken", func(r *record) { r.returned = 26 }),
		"grant returned":         ofKey("grant plan", func(r *record) { r.returned = 1 }),
		"bar on a grant's key":   ofKey("grant plan", func(r *record) { r.reply = "" }),
		"reply unreadable":       ofKey("taken", func(r *record) { r.reply = "?" }),
		"nowhere to return to":   ofKey("taken", func(r *record) { r.account = "b" }),
		"hours out of order":     func(d *desk) { d.m.keys.generations = append(d.m.keys.generations, generation{}) },
		"cursor of the future":   func(d *desk) { d.m.putCursor(Cursor{"late", 1 << 40}) },
		"sums of other records":  func(d *desk) { d.m.keys.sum++ },
	})
}

func TestRestoreRefusesAnImpossibleAllowance(t *testing.T) {
	impossible(t, map[string]func(*desk){
		"lent by no allowance":   ofAccount(func(a *account) { a.grants[1].lent++; a.books[Lent]++; a.books[Spent]--; a.grants[1].amount++ }),
		"one more allowance":     ofAccount(func(a *account) { a.lending++ }),
		"allowance that settled": ofAllowance(func(h *hold) { h.takes[0].spent++ }),
		"allowance with more":    ofAllowance(func(h *hold) { h.takes[0].held++ }),
		"allowance undone":       ofAllowance(func(h *hold) { h.loan.loose = -1 }),
		"allowance at its end":   ofLapsed(func(h *hold) { h.state = Captured }),
		"allowance of nobody":    ofAllowance(func(h *hold) { h.account = "nobody" }),
		"allowance to come":      ofAllowance(func(h *hold) { h.loan.id, h.id = 1<<40, lentID(1<<40) }),
		"allowance misnamed":     ofAllowance(func(h *hold) { h.loan.id-- }),
	})
}

// The bytes of snapshots, commands, replies and events are kept by those who run Weir: they change with a version only.
func TestFormatsStayAsTheyAre(t *testing.T) {
	d := worked(t)
	image := d.snapshot()
	_, chain := d.m.Events()
	got := fmt.Sprintf("state %x\nchain %x\nsnapshot %x\n", d.m.Digest(), chain, sha256.Sum256(image))
	want, err := os.ReadFile("testdata/v3.sums")
	if err != nil || got != string(want) {
		t.Errorf("a known state has %s, had %s, %v: a change of format needs a new version", got, want, err)
	}
}
