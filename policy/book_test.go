package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// logTime is when the logs of these tests begin.
func logTime() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// bookProposer is a log with one book, at a time, which compiles at once.
type bookProposer struct {
	*Book
	at time.Time
}

func (b bookProposer) Propose(_ context.Context, command []byte) ([]byte, error) {
	reply := b.Apply(b.at, command)
	b.compile()
	return reply, nil
}

func put(text string, expect int64) []byte {
	return (&command{kind: kindPut, expect: expect, text: []byte(text)}).encode()
}

// carry has the book apply a command, compile, and say what came of it.
func carry(t testing.TB, b *Book, at time.Time, command []byte) (reached, error) {
	t.Helper()
	reply, err := bookProposer{b, at}.Propose(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	return decodeReply(reply)
}

func learn(t testing.TB, b *Book, a agreed) {
	t.Helper()
	if err := b.Learn(a.encode(0)); err != nil {
		t.Fatal(err)
	}
	b.compile()
}

func snapshot(t testing.TB, b *Book) []byte {
	t.Helper()
	write, err := b.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if err := write(&w); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func TestPutAgreesOnVersions(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	other := append(Demo(), "\n# changed\n"...)
	for i, c := range []struct {
		text    []byte
		expect  int64
		version uint64
		err     error
	}{
		{Demo(), 3, 0, ErrVersionConflict},
		{[]byte("version: 1"), AnyVersion, 0, ErrInvalid},
		{Demo(), -2, 0, ErrInvalid},
		{Demo(), NoVersion, 1, nil},
		{Demo(), NoVersion, 1, nil}, // a repetition
		{other, NoVersion, 1, ErrVersionConflict},
		{other, 1, 2, nil},
		{Demo(), AnyVersion, 3, nil},
	} {
		v, err := b.Put(t.Context(), bookProposer{b, logTime()}, "f", c.text, c.expect, "")
		if v != c.version || !errors.Is(err, c.err) {
			t.Errorf("%d: version %d, %v", i, v, err)
		}
	}
	if p := b.Current(); p.Version() != 3 || !bytes.Equal(p.Text(), Demo()) || b.Err() != nil {
		t.Errorf("%+v", p)
	}
	long := command{kind: kindPut, text: make([]byte, TextMax+1)}
	for _, bad := range [][]byte{
		nil,
		{1},
		{2},
		{2, 9},
		{3, 0, 0, 0, 0, 0, 0, 0, 0, 'x'},
		long.encode(), put("x", -9), put("", 0), append(put("x", 0), 0),
		append([]byte{putFormat, 0xff}, make([]byte, 9)...),
		{2, kindPut, 0x80, 0, 0, 1, 'x'}, // 0 in two bytes
	} {
		if _, err := carry(t, b, logTime(), bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if revision, version := b.Revision(); revision != 3 || version != 3 {
		t.Errorf("what was refused counts: revision %d, version %d", revision, version)
	}
}

// Logs and snapshots that the first release wrote are still read.
func TestTheFirstReleasesBytesAreRead(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	old := append([]byte{putFormat, 0, 0, 0, 0, 0, 0, 0, 0}, Demo()...)
	if at, err := carry(t, b, logTime(), old); err != nil || at != (reached{1, 1}) {
		t.Fatal(at, err)
	}
	size := len(Demo())
	snap := append([]byte("weir-policy\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00"), byte(size>>8), byte(size))
	if err := b.Restore(bytes.NewReader(append(snap, Demo()...))); err != nil {
		t.Fatal(err)
	}
	b.compile()
	if p := b.Current(); p.Version() != 7 || !bytes.Equal(p.Text(), Demo()) || len(b.History()) != 1 {
		t.Errorf("version %d, history %v", p.Version(), b.History())
	}
	if at, err := carry(t, b, logTime(), put("version: 2", 7)); err != nil || at != (reached{8, 8}) {
		t.Error(at, err)
	}
}

func TestBookKeepsDecidingWhenItCannotCompileWhatWasAgreed(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	document := func(number uint64, text string) agreed {
		return agreed{revision: number, versions: []version{{number: number, text: []byte(text)}}}
	}
	if _, err := carry(t, b, logTime(), put(string(Demo()), NoVersion)); err != nil {
		t.Fatal(err)
	}
	if at, err := carry(t, b, logTime(), put("version: 2", 1)); at.version != 2 || err != nil {
		t.Fatal(at, err)
	}
	if v, _ := b.Document(); v != 2 || b.Current().Version() != 1 || b.Err() == nil {
		t.Errorf("document %d, current %d, %v", v, b.Current().Version(), b.Err())
	}
	block := &command{kind: kindBlock, place: place{"demo", "alice", ""}, why: "spam"}
	if _, err := carry(t, b, logTime(), block.encode()); err != nil || b.Err() == nil {
		t.Error(err, b.Err())
	}
	if _, is := b.Current().special("demo", "alice").blocked(logTime()); !is {
		t.Error("a block waits for a document that compiles")
	}
	learn(t, b, document(4, string(Demo())))
	if b.Current().Version() != 4 || b.Err() != nil {
		t.Error(b.Current().Version(), b.Err())
	}
	learn(t, b, document(2, "old"))
	if v, _ := b.Document(); v != 4 || b.Current().Version() != 4 {
		t.Error("an older state was learnt")
	}
	for _, bad := range [][]byte{nil, {9}, []byte("weir-policy\x02")} {
		if err := b.Learn(bad); err == nil {
			t.Errorf("%q was learnt", bad)
		}
	}
}

// Run is what puts a change in force, and a change returns when it is.
func TestAChangeReturnsWhenThisNodeDecidesByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		slow := proposerFunc(func(_ context.Context, command []byte) ([]byte, error) { return b.Apply(logTime(), command), nil })
		go func() {
			time.Sleep(time.Minute)
			done <- b.Run(ctx)
		}()
		began := time.Now()
		if v, err := b.Put(ctx, slow, "f", Demo(), AnyVersion, ""); v != 1 || err != nil {
			t.Fatal(v, err)
		}
		if time.Since(began) != time.Minute || b.Current().Version() != 1 {
			t.Errorf("returned after %v", time.Since(began))
		}
		select {
		case <-b.Changed():
		default:
			t.Error("the keeper was not told")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if v, err := b.Put(ctx, slow, "f", append(Demo(), '\n'), AnyVersion, ""); v != 2 || err != nil {
			t.Errorf("agreed, but this node has stopped: %d, %v", v, err)
		}
	})
}

type proposerFunc func(ctx context.Context, command []byte) ([]byte, error)

func (f proposerFunc) Propose(ctx context.Context, command []byte) ([]byte, error) {
	return f(ctx, command)
}

// anyCommand draws one of a few of each kind, so that they meet.
func anyCommand() *rapid.Generator[*command] {
	return rapid.Custom(func(t *rapid.T) *command {
		x := &command{kind: rapid.Uint8Range(kindPut, kindReset).Draw(t, "kind")}
		if x.kind == kindPut {
			x.expect = rapid.Int64Range(-2, 4).Draw(t, "expect")
			x.text = []byte(rapid.SampledFrom([]string{string(Demo()), string(Demo()) + "\n", "no policy", ""}).Draw(t, "text"))
			x.note = rapid.SampledFrom([]string{"", "why"}).Draw(t, "note")
			return x
		}
		x.place = place{"demo", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "account"), rapid.SampledFrom([]string{"", "user-rpm", "gone"}).Draw(t, "limit")}
		x.terms = Terms{Rate: rapid.SampledFrom([]string{"", "9/s", "nine"}).Draw(t, "rate"), Burst: rapid.Int64Range(0, 2).Draw(t, "burst")}
		if ends := rapid.IntRange(-1, 3).Draw(t, "until"); ends >= 0 {
			x.until = logTime().Add(time.Duration(ends) * time.Minute)
		}
		x.why = rapid.SampledFrom([]string{"", "spam"}).Draw(t, "why")
		x.nonce = rapid.Uint64Range(0, 2).Draw(t, "nonce")
		x.debts = time.Duration(rapid.IntRange(0, 2).Draw(t, "debts")) * time.Minute
		return x
	})
}

// Replicas agree whatever they learnt ahead of their log, and whether they saw all of it or began with a snapshot; and
// a command that is repeated at once changes nothing.
func TestBooksFedTheSameLogAreEqual(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain, ahead, fresh, twice := NewBook(nil), NewBook(nil), NewBook(nil), NewBook(nil)
		future := agreed{revision: 1000, versions: []version{{number: 900, text: Demo()}}}
		if err := ahead.Learn(future.encode(0)); err != nil {
			t.Fatal(err)
		}
		at := logTime()
		for i, x := range rapid.SliceOfN(anyCommand(), 1, 40).Draw(t, "log") {
			at = at.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
			before := plain.applied
			was := before.encode(0)
			want := plain.Apply(at, x.encode())
			if !bytes.Equal(before.encode(0), was) {
				t.Fatalf("command %d %+v changed what was known before", i, x)
			}
			if got := ahead.Apply(at, x.encode()); !bytes.Equal(got, want) {
				t.Fatalf("command %d: replicas answer %v and %v", i, want, got)
			}
			if err := fresh.Restore(bytes.NewReader(append([]byte(snapshotMagic), plain.applied.encode(0)...))); err != nil {
				t.Fatal(err)
			}
			twice.Apply(at, x.encode())
			revision := twice.applied.revision
			if got := twice.Apply(at, x.encode()); x.kind != kindPut && (!bytes.Equal(got, want) || twice.applied.revision != revision) {
				t.Fatalf("command %d %+v again: %v, first %v", i, x, got, want)
			}
			for _, b := range []*Book{ahead, fresh, twice} {
				if !bytes.Equal(b.applied.encode(0), plain.applied.encode(0)) {
					t.Fatalf("command %d: replicas hold %+v and %+v", i, plain.applied, b.applied)
				}
			}
		}
		if revision, version := ahead.Revision(); revision != 1000 || version != 900 {
			t.Errorf("what was learnt went back to %d, %d", revision, version)
		}
	})
}

// A node that pulls now and then knows the same as the log's, and is sent no text twice.
func TestLearningFollowsTheLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		voter, puller := NewBook(nil), NewBook(nil)
		at := logTime()
		for i, x := range rapid.SliceOfN(anyCommand(), 1, 60).Draw(t, "log") {
			if at = at.Add(time.Second); x.kind == kindPut {
				x.expect, x.text = AnyVersion, append(x.text, fmt.Sprint(" # ", i)...)
			}
			voter.Apply(at, x.encode())
			if rapid.IntRange(0, 3).Draw(t, "pull") > 0 {
				continue
			}
			_, have := puller.Revision()
			state := voter.State(have)
			if v := voter.known.current(); v.number == have && have > 0 && bytes.Contains(state, v.text) {
				t.Fatal("a text that is known was sent")
			}
			if err := puller.Learn(state); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(puller.State(0), voter.State(0)) {
				t.Fatalf("after %d: %+v, want %+v", i, puller.known, voter.known)
			}
		}
	})
}

func TestBookSnapshotRestores(t *testing.T) {
	t.Parallel()
	a, b := NewBook(nil), NewBook(nil)
	if err := a.Restore(bytes.NewReader(snapshot(t, b))); err != nil {
		t.Error(err)
	}
	if at, err := carry(t, b, logTime(), put(string(Demo()), 1)); !errors.Is(err, ErrVersionConflict) || at.version != 0 {
		t.Errorf("after an empty snapshot: %v, %v", at, err)
	}
	for _, x := range []command{
		{kind: kindPut, text: append(Demo(), '\n'), note: "first"},
		{kind: kindPut, text: Demo(), expect: 1},
		{kind: kindOverride, place: place{"demo", "a", "user-rpm"}, terms: Terms{Rate: "9/s"}, until: logTime().Add(time.Hour)},
		{kind: kindBlock, place: place{"demo", "b", ""}, why: "spam"},
		{kind: kindReset, place: place{"demo", "c", ""}, nonce: 7, debts: time.Hour},
	} {
		if _, err := carry(t, a, logTime(), x.encode()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Restore(bytes.NewReader(snapshot(t, a))); err != nil {
		t.Fatal(err)
	}
	b.compile()
	if p := b.Current(); p.Version() != 2 || !bytes.Equal(p.Text(), Demo()) || !bytes.Equal(snapshot(t, a), snapshot(t, b)) {
		t.Errorf("version %d", p.Version())
	}
	good := snapshot(t, a)
	bytesOf := func(numbers ...uint64) string {
		a := agreed{revision: 9, blocks: map[place]block{{"d", "a", ""}: {}, {"d", "b", ""}: {}}}
		for _, n := range numbers {
			a.versions = append(a.versions, version{number: n, text: []byte("x")})
		}
		return snapshotMagic + string(a.encode(0))
	}
	if err := NewBook(nil).Restore(strings.NewReader(bytesOf(1, 2, 3, 4))); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", "weir-policy\x03", "weir-policy\x02", string(good[:len(good)-1]), string(good) + "x",
		oldMagic + "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x05abc", oldMagic + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01a",
		snapshotMagic + string((&agreed{revision: 1, versions: []version{{number: 2, text: []byte("x")}}}).encode(0)), // more versions than changes
		bytesOf(1, 3, 2, 4), bytesOf(3, 2), bytesOf(1, 1), bytesOf(9, 10),
		strings.Replace(bytesOf(1), "\x01d\x01b\x00", "\x01d\x01a\x00", 1),     // one account twice
		snapshotMagic + string(b.State(1)), snapshotMagic + string(b.State(2)), // for one who has the texts
	} {
		if err := b.Restore(strings.NewReader(bad)); err == nil || !bytes.Equal(good, snapshot(t, b)) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func TestWordsAreThoseOfTheWire(t *testing.T) {
	t.Parallel()
	for r := ReasonUnknown; int(r) < len(reasonWords); r++ {
		if got, ok := ParseReason(r.String()); !ok || got != r || r.Status() == 0 {
			t.Errorf("%d %s", r, r)
		}
	}
	for _, c := range []struct {
		d      Decision
		reason string
		status int
	}{
		{Decision{Verdict: Allow, Reason: FallbackShare}, "FALLBACK_SHARE", 200},
		{Decision{Reason: FallbackShare}, "FALLBACK_SHARE", 429},
		{Decision{Verdict: Queue, Reason: OK}, "OK", 202},
		{Decision{Reason: CreditsExhausted}, "CREDITS_EXHAUSTED", 402},
		{Decision{Reason: NoMatch}, "NO_MATCH", 403},
		{Decision{Reason: LedgerUnavailable}, "LEDGER_UNAVAILABLE", 503},
		{Decision{}, "UNKNOWN", 500},
	} {
		if c.d.Status() != c.status || c.d.Reason.String() != c.reason {
			t.Errorf("%+v: %d %s", c, c.d.Status(), c.d.Reason)
		}
	}
	if Peek.String() != "PEEK" || RemedyAskOwner.String() != "ask_owner" || FromLimit.String() != "LIMIT" || Degrade.String() != "DEGRADE" || Verdict(99).String() != "UNKNOWN" {
		t.Error("a word changed")
	}
}
