package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRollbackPutsAnEarlierTextUnderANewVersion(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	p.at = logTime().Add(time.Minute)
	if v, err := b.Put(t.Context(), p, "f", Demo(), 1, "try the demo"); v != 2 || err != nil {
		t.Fatal(v, err)
	}
	for i, c := range []struct {
		to     uint64
		expect int64
		want   uint64
		err    error
	}{
		{1, 1, 2, ErrVersionConflict},
		{7, AnyVersion, 0, ErrInvalid},
		{0, AnyVersion, 0, ErrInvalid},
		{1, 2, 3, nil},
		{1, AnyVersion, 3, nil}, // it is in force
		{2, AnyVersion, 4, nil},
	} {
		if v, err := b.Rollback(t.Context(), p, c.to, c.expect); v != c.want || !errors.Is(err, c.err) {
			t.Errorf("%d: version %d, %v", i, v, err)
		}
	}
	sum := sha256.Sum256(Demo())
	history := b.History()
	if len(history) != 4 || history[2] != (Version{2, p.at, "try the demo", len(Demo()), hex.EncodeToString(sum[:])}) ||
		history[0].Version != 4 || history[0].Note != "rollback to version 2" || history[3].At != logTime() {
		t.Errorf("%+v", history)
	}
	if text, err := b.TextOf(3); err != nil || string(text) != overridable || b.Current().Version() != 4 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestRollbackToWhatNoLongerCompilesIsRefused(t *testing.T) {
	t.Parallel()
	b, p := newOverridable(t)
	for _, text := range []string{"version: 2", overridable} {
		if _, err := carry(t, b, logTime(), put(text, AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Rollback(t.Context(), p, 2, AnyVersion); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, puts, kept int }{
		{100, 25, VersionsMax},
		{TextMax, 12, versionBytesMax / TextMax},
	} {
		b := NewBook(nil)
		for i := range c.puts {
			text := fmt.Sprintf("# %d %s", i, strings.Repeat("x", c.size))[:c.size]
			b.Apply(logTime(), put(text, AnyVersion))
		}
		history := b.History()
		if len(history) != c.kept || history[0].Version != uint64(c.puts) || history[c.kept-1].Version != uint64(c.puts-c.kept+1) {
			t.Errorf("%d bytes: %d kept, from %d", c.size, len(history), history[len(history)-1].Version)
		}
		if _, err := b.TextOf(1); !errors.Is(err, ErrInvalid) {
			t.Errorf("a version that is forgotten: %v", err)
		}
		again := NewBook(nil)
		if err := again.Restore(bytes.NewReader(snapshot(t, b))); err != nil || len(again.History()) != c.kept {
			t.Errorf("%d bytes: %v", c.size, err)
		}
	}
}
