package journal

import (
	"context"
	"errors"
	"testing"
)

func TestGapsAreMendedFromAnotherCopy(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		other := NewMemory(small(nil))
		add(t, other, 1, 2500)
		j := open(t, small(files))
		add(t, j, 1, 30)
		add(t, j, 1901, 1910)
		add(t, j, 2001, 2010)
		if err := j.Mend(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		has(t, j, 1, 2010)
		if err := j.Mend(t.Context(), nil); err != nil { // there is nothing to ask for
			t.Error(err)
		}
	})
}

func TestWhatTheOtherCopyHasDroppedIsDropped(t *testing.T) {
	other := NewMemory(small(nil))
	add(t, other, 1, 100)
	if err := other.Drop(60); err != nil {
		t.Fatal(err)
	}
	j := NewMemory(small(nil))
	add(t, j, 101, 110)
	if err := j.Mend(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	has(t, j, other.Oldest(), 110)
	misses(t, j, 1, ErrGone, other.Oldest())
}

func TestWhatTheOtherCopyLacksStaysAGap(t *testing.T) {
	for name, other := range map[string]func(*Journal){
		"a gap there, too": func(o *Journal) { add(t, o, 1, 50); add(t, o, 80, 90) },
		"behind":           func(o *Journal) { add(t, o, 1, 50) },
	} {
		from := NewMemory(small(nil))
		other(from)
		j := NewMemory(small(nil))
		add(t, j, 1, 10)
		add(t, j, 101, 110)
		if err := j.Mend(t.Context(), from); !errors.Is(err, ErrGap) {
			t.Errorf("%s: %v", name, err)
		}
		has(t, j, 1, 50)
		misses(t, j, 60, ErrGap, 101)
	}
}

func TestAnEndThatIsMissingIsFetchedFromAnotherCopy(t *testing.T) {
	onBoth(t, func(t *testing.T, files Files) {
		other := NewMemory(small(nil))
		add(t, other, 1, 2500)
		j := open(t, small(files))
		add(t, j, 1, 30)
		if err := j.Extend(t.Context(), other, 2400); err != nil {
			t.Fatal(err)
		}
		has(t, j, 1, 2400)
		misses(t, j, 2401, ErrGap, 0)
		if err := j.Extend(t.Context(), nil, 2400); err != nil { // there is nothing to ask for
			t.Error(err)
		}
		if err := j.Extend(t.Context(), other, 2600); !errors.Is(err, ErrGap) {
			t.Errorf("from one that is behind: %v", err)
		}
		has(t, j, 1, 2500)
	})
}

// The record after the end arrives while the end is being fetched, and what the other copy dropped is a gap until Mend.
func TestAnEndIsFetchedAroundWhatIsAppendedAndDropped(t *testing.T) {
	other := NewMemory(small(nil))
	add(t, other, 1, 100)
	if err := other.Drop(60); err != nil {
		t.Fatal(err)
	}
	j := NewMemory(small(nil))
	add(t, j, 1, 10)
	from := scan(func(ctx context.Context, after uint64, records, size int) ([][]byte, error) {
		if j.Newest() == 10 {
			add(t, j, 101, 101)
		}
		return other.Scan(ctx, after, records, size)
	})
	if err := j.Extend(t.Context(), from, 100); err != nil {
		t.Fatal(err)
	}
	has(t, j, other.Oldest(), 101)
	if err := j.Mend(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	misses(t, j, 1, ErrGone, other.Oldest())
}

type scan func(ctx context.Context, after uint64, records, size int) ([][]byte, error)

func (s scan) Scan(ctx context.Context, after uint64, records, size int) ([][]byte, error) {
	return s(ctx, after, records, size)
}
