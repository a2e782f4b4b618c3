package journal

import (
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
