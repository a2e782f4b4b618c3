package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
	m := newDesk(t, DefaultConfig()).m
	m.Apply(d.at, encodeCommand(&OpenAccount{Key: "k", Account: "to be discarded"}))
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
		&Debit{Key: "taken", Account: "a", Amount: 25},
		&Debit{Key: "taken", Account: "a", Amount: 26},
		&Debit{Key: "d1", Account: "a", Amount: 1}, // forgotten
		&Debit{Key: "barred", Account: "a", Amount: 1},
		&Return{Key: "rest", Account: "a", Debit: "taken"},
		&OpenAccount{Key: "b again", Account: "b", Plan: "pro", Labels: []Label{{"region", "eu"}}},
		&readAccount{"a"},
	} {
		if i == 5 {
			d.pass(3 * time.Hour)
		}
		b := encodeCommand(c)
		if want, got := d.m.Apply(d.at, b), m.Apply(d.at, b); !bytes.Equal(got, want) {
			t.Errorf("%s answers %q, want %q", c.op(), got, want)
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

// A snapshot with a good checksum over a state that no log can lead to.
func TestRestoreRefusesAnImpossibleState(t *testing.T) {
	for name, harm := range map[string]func(*Machine, *account){
		"books do not balance":   func(_ *Machine, a *account) { a.books[Spent]++ },
		"grants out of order":    func(_ *Machine, a *account) { a.grants[0], a.grants[1] = a.grants[1], a.grants[0] },
		"two grants of one id":   func(_ *Machine, a *account) { a.grants[1].id = a.grants[0].id },
		"grant without amount":   func(_ *Machine, a *account) { a.grants[0].amount = 0 },
		"gap in the entries":     func(_ *Machine, a *account) { a.seq += 2 },
		"account without a name": func(_ *Machine, a *account) { a.id = "" },
		"account twice":          func(m *Machine, a *account) { m.accounts = append(m.accounts, a) },
		"key of no account":      func(m *Machine, _ *account) { m.keys.byKey["d"].account = "b" },
		"returned more":          func(m *Machine, _ *account) { m.keys.byKey["d"].returned = 13 },
		"grant returned":         func(m *Machine, _ *account) { m.keys.byKey["grant i"].returned = 1 },
		"bar on a grant's key":   func(m *Machine, _ *account) { m.keys.byKey["grant i"].reply = nil },
		"reply unreadable":       func(m *Machine, _ *account) { m.keys.byKey["d"].reply = []byte("?") },
		"nowhere to return to":   func(_ *Machine, a *account) { a.grants[0].id = "other" },
		"hours out of order":     func(m *Machine, _ *account) { m.keys.generations = append(m.keys.generations, generation{}) },
	} {
		d := newDesk(t, DefaultConfig())
		d.open(0)
		d.grant(Grant{Grant: "i", Amount: 10})
		d.grant(Grant{Grant: "p", Kind: Promo, Amount: 10})
		d.debit("d", 12)
		harm(d.m, d.m.byID["a"])
		image := d.snapshot()
		if err := NewMachine(DefaultConfig()).Restore(bytes.NewReader(image)); !errors.Is(err, errBroken) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The bytes of snapshots, commands and replies are kept by those who run Weir: they change with the version only.
func TestFormatsStayAsTheyAre(t *testing.T) {
	d := worked(t)
	if got, want := fmt.Sprintf("%x", d.m.Digest()), goldenDigest; got != want {
		t.Errorf("digest of a known state is %s, was %s: a change of format needs a new version", got, want)
	}
}

const goldenDigest = "bee04ecd93193aee2acfa40b9a709a1ab146d21bc687ace70f81345609058e89"
