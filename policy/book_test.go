package policy

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

type bookProposer struct{ *Book }

func (b bookProposer) Propose(_ context.Context, command []byte) ([]byte, error) {
	return b.Apply(command), nil
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
		v, err := Put(t.Context(), bookProposer{b}, "f", c.text, c.expect)
		if v != c.version || !errors.Is(err, c.err) {
			t.Errorf("%d: version %d, %v", i, v, err)
		}
	}
	if p := b.Current(); p.Version() != 3 || !bytes.Equal(p.Text(), Demo()) || b.Err() != nil {
		t.Errorf("%+v", p)
	}
	for _, bad := range [][]byte{nil, {1}, {2, 0, 0, 0, 0, 0, 0, 0, 0, 'x'}, encodePut(make([]byte, TextMax+1), 0), encodePut(Demo(), -9)} {
		if _, err := decodeReply(b.Apply(bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestBookKeepsDecidingWhenItCannotCompileWhatWasAgreed(t *testing.T) {
	t.Parallel()
	b := NewBook(nil)
	b.Apply(encodePut(Demo(), NoVersion))
	if v, err := decodeReply(b.Apply(encodePut([]byte("version: 2"), 1))); v != 2 || err != nil {
		t.Fatal(v, err)
	}
	if v, _ := b.Document(); v != 2 || b.Current().Version() != 1 || b.Err() == nil {
		t.Errorf("document %d, current %d, %v", v, b.Current().Version(), b.Err())
	}
	if err := b.Learn(3, Demo()); err != nil || b.Current().Version() != 3 || b.Err() != nil {
		t.Error(err)
	}
	if err := b.Learn(2, []byte("old")); err != nil || b.Current().Version() != 3 {
		t.Error(err)
	}
	if err := b.Learn(4, []byte("new")); !errors.Is(err, ErrInvalid) || b.Current().Version() != 3 {
		t.Error(err)
	}
}

func TestBookSnapshotRestores(t *testing.T) {
	t.Parallel()
	a, b := NewBook(nil), NewBook(nil)
	restore := func() error {
		write, err := a.Snapshot()
		if err != nil {
			return err
		}
		var w bytes.Buffer
		if err := write(&w); err != nil {
			return err
		}
		return b.Restore(&w)
	}
	b.Apply(encodePut(Demo(), NoVersion))
	if err := restore(); err != nil {
		t.Error(err)
	}
	if v, err := decodeReply(b.Apply(encodePut(Demo(), 1))); !errors.Is(err, ErrVersionConflict) || v != 0 {
		t.Errorf("after an empty snapshot: version %d, %v", v, err)
	}
	a.Apply(encodePut(append(Demo(), '\n'), NoVersion))
	a.Apply(encodePut(Demo(), 1))
	if err := restore(); err != nil || b.Current().Version() != 2 || !bytes.Equal(b.Current().Text(), Demo()) {
		t.Error(err)
	}
	for _, bad := range []string{"", "weir-policy\x02", snapshotMagic + "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x05abc", snapshotMagic + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01a"} {
		if err := b.Restore(bytes.NewReader([]byte(bad))); err == nil || b.Current().Version() != 2 {
			t.Errorf("%q: %v", bad, err)
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

// A voter may have learnt a version before its log brings it: what it answers must not depend on that, or the
// replicas part.
func TestApplyDoesNotDependOnWhatWasLearnt(t *testing.T) {
	t.Parallel()
	first, second := Demo(), append(Demo(), "\n# second\n"...)
	plain, ahead := NewBook(nil), NewBook(nil)
	if err := ahead.Learn(2, second); err != nil {
		t.Fatal(err)
	}
	for i, c := range [][]byte{encodePut(first, AnyVersion), encodePut(second, AnyVersion), encodePut(first, 1)} {
		if a, b := plain.Apply(c), ahead.Apply(c); !bytes.Equal(a, b) {
			t.Errorf("put %d: replicas answer %v and %v", i, a, b)
		}
		if v := ahead.Current().Version(); v != 2 {
			t.Errorf("put %d: the policy went back to version %d", i, v)
		}
	}
	write, err := plain.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var snapshot bytes.Buffer
	if err := write(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := ahead.Learn(3, first); err != nil {
		t.Fatal(err)
	}
	if err := ahead.Restore(&snapshot); err != nil || ahead.Current().Version() != 3 {
		t.Errorf("after a restore of version 2: version %d, %v", ahead.Current().Version(), err)
	}
	if a, b := plain.Apply(encodePut(first, 2)), ahead.Apply(encodePut(first, 2)); !bytes.Equal(a, b) {
		t.Errorf("after a restore replicas answer %v and %v", a, b)
	}
}
