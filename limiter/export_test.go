package limiter

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// chunksOf exports partition 7.
func chunksOf(s *Store, now int64, sequence uint64, most int) (chunks [][]byte) {
	at := Cursor{Sequence: sequence}
	for done := false; !done; {
		var b []byte
		b, at, done = s.Export(7, now, at, most)
		chunks = append(chunks, b)
	}
	return chunks
}

func merges(t interface{ Error(...any) }, s *Store, now int64, source uint64, chunks ...[]byte) {
	for _, b := range chunks {
		if err := s.Merge(7, now, source, b); err != nil {
			t.Error(err)
		}
	}
}

func restores(t interface{ Error(...any) }, s *Store, now int64, chunks ...[]byte) {
	for _, b := range chunks {
		if err := s.Restore(7, now, 0, b); err != nil {
			t.Error(err)
		}
	}
}

// TestExportImportKeepsEveryDecision goes on with a store, with one it was handed over to, and with a copy.
func TestExportImportKeepsEveryDecision(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := []*Limit{drawLimit(t), drawLimit(t), drawLimit(t)}
		home, heir, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
		if rapid.Bool().Draw(t, "cold") {
			home.Cold(7, start-int64(time.Second))
		}
		now := start
		for i := range rapid.IntRange(1, 40).Draw(t, "before") {
			now += max(0, drawStep(t)/4)
			if i == 20 {
				restores(t, deputy, now, chunksOf(home, now, 1, 300)...)
			}
			home.Take(7, now, drawTakes(t, limits))
		}
		most := rapid.IntRange(0, 2000).Draw(t, "most")
		chunks := chunksOf(home, now, 2, most)
		for _, b := range chunks {
			if c, err := decodeChunk(b); len(b) > max(most, chunkMin) && len(c.records) > 1 {
				t.Fatalf("a chunk of %d bytes, want at most %d: %v", len(b), most, err)
			}
			again := rapid.IntRange(1, 2).Draw(t, "times")
			merges(t, heir, now, 9, slices.Repeat([][]byte{b}, again)...)
			restores(t, deputy, now, slices.Repeat([][]byte{b}, again)...)
		}
		merges(t, heir, now, 9, chunks...)
		restores(t, deputy, now, chunks...)
		for range rapid.IntRange(1, 30).Draw(t, "after") {
			now = max(start, now+drawStep(t))
			takes := drawTakes(t, limits)
			for _, other := range []*Store{heir, deputy} {
				same := slices.Clone(takes)
				o, short := other.Peek(7, now, same)
				if wo, ws := home.Peek(7, now, takes); o != wo || short != ws {
					t.Fatalf("%v %v, want %v %v", o, short, wo, ws)
				}
				for i, k := range takes {
					if g := same[i]; g.Remaining != k.Remaining || g.Refused != k.Refused || g.Wait != k.Wait || g.Reset != k.Reset {
						t.Fatalf("%s: %+v, want %+v", describe(k), g, k)
					}
				}
				other.Take(7, now, same)
			}
			home.Take(7, now, takes)
		}
	})
}

func everyAlgorithm() []*Limit {
	return []*Limit{
		{Algorithm: TokenBucket, Count: 7, Period: time.Hour, Burst: 20},
		{Algorithm: TokenBucket, Count: 10_000_000_000, Period: 30 * 24 * time.Hour, Burst: 20},
		{Algorithm: FixedWindow, Count: 20, Period: time.Hour},
		{Algorithm: SlidingWindow, Count: 20, Period: time.Hour},
		{Algorithm: RollingLog, Count: 20, Period: time.Hour},
		{Algorithm: CalendarWindow, Count: 20, Calendar: Month},
		{Algorithm: Concurrency, Count: 20, Period: time.Hour},
	}
}

func slotted(l *Limit, cost int64, slot uint64) []Take {
	return []Take{{Key: Key{Lo: 1}, Limit: l, Cost: cost, Slot: Key{Lo: slot}}}
}

func TestMergeAddsDebtsOnceAndRestoreReplaces(t *testing.T) {
	t.Parallel()
	for _, l := range everyAlgorithm() {
		home, heir, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
		home.Take(7, start, slotted(l, 3, 1))
		old := chunksOf(home, start, 1, 1<<16)
		home.Take(7, start, slotted(l, 2, 2))
		chunks := chunksOf(home, start, 2, 1<<16)
		for _, s := range []*Store{heir, deputy} {
			s.Take(7, start, slotted(l, 4, 3))
		}
		merges(t, heir, start, 1, chunks[0], chunks[0])
		restores(t, deputy, start, chunks[0], old[0], chunks[0])
		for s, want := range map[*Store]int64{heir: 11, deputy: 15} {
			look := slotted(l, 0, 0)
			if s.Peek(7, start, look); look[0].Remaining != want {
				t.Errorf("%v: %d left, want %d", l.Algorithm, look[0].Remaining, want)
			}
		}
		merges(t, heir, start, 2, chunks[0])
		if l.Algorithm != Concurrency { // what has the same slots adds none
			look := slotted(l, 0, 0)
			if heir.Peek(7, start, look); look[0].Remaining != 6 {
				t.Errorf("%v from two sources: %d left, want 6", l.Algorithm, look[0].Remaining)
			}
		}
	}
}

func TestLongLogHasAChunkOfItsOwn(t *testing.T) {
	t.Parallel()
	l := &Limit{Algorithm: RollingLog, Count: 5000, Period: time.Hour}
	home, heir, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
	now := start
	for i := range int64(4000) {
		now = start + i*int64(100*time.Millisecond)
		home.Take(7, now, one(l, 1, 1))
		home.Take(7, now, one(&Limit{Algorithm: FixedWindow, Count: 9, Period: time.Hour}, uint64(i+2), 1))
	}
	chunks := chunksOf(home, now, 1, 4096)
	merges(t, heir, now, 1, chunks...)
	restores(t, deputy, now, chunks...)
	restores(t, deputy, now, chunksOf(home, now, 2, 1000)...)
	if len(chunks) < 10 || len(slices.MaxFunc(chunks, func(a, b []byte) int { return len(a) - len(b) })) < 16_000 || heir.Len() != home.Len() || deputy.Len() != home.Len() {
		t.Errorf("%d chunks, %d and %d buckets, want %d", len(chunks), heir.Len(), deputy.Len(), home.Len())
	}
	for _, s := range []*Store{home, heir, deputy} {
		look := one(l, 1, 3000)
		if s.Peek(7, now, look); look[0].Remaining != 1000 || look[0].Wait != time.Hour+time.Duration(start+1999*int64(100*time.Millisecond)-now) {
			t.Errorf("%+v", look[0])
		}
	}
}

func TestChunksOutOfTurnAreRefused(t *testing.T) {
	t.Parallel()
	home, heir := NewStore(DefaultConfig()), NewStore(DefaultConfig())
	for k := range uint64(100) {
		home.Take(7, start, one(everyAlgorithm()[0], k, 1))
	}
	chunks := chunksOf(home, start, 5, 500)
	for _, err := range []error{heir.Merge(7, start, 1, chunks[1]), heir.Restore(7, start, 0, chunks[1])} {
		if !errors.Is(err, ErrGap) {
			t.Error(err)
		}
	}
	restores(t, heir, start, chunks[0])
	if err := heir.Restore(7, start, 0, chunks[2]); !errors.Is(err, ErrGap) {
		t.Error(err)
	}
	before := heir.Len()
	restores(t, heir, start, chunksOf(home, start, 4, 500)...)
	if heir.Len() != before {
		t.Error("an older export was restored")
	}
}

func TestChunkThatHasNoRoomChangesNothing(t *testing.T) {
	t.Parallel()
	l := everyAlgorithm()[0]
	home, heir := NewStore(DefaultConfig()), NewStore(Config{BucketsMax: 60})
	for k := range uint64(100) {
		home.Take(7, start, one(l, k, 1))
	}
	b := chunksOf(home, start, 1, 1<<16)[0]
	heir.Take(7, start, one(l, 500, 1))
	if err := heir.Merge(7, start, 1, b); !errors.Is(err, ErrFull) || heir.Len() != 1 {
		t.Errorf("%v, then %d buckets", err, heir.Len())
	}
	if err := heir.Restore(7, start, 0, b); !errors.Is(err, ErrFull) || heir.Len() != 1 {
		t.Errorf("%v, then %d buckets", err, heir.Len())
	}
	heir.Drop(7)
	if heir.Len() != 0 {
		t.Errorf("%d buckets", heir.Len())
	}
}

func TestChunkIsDecodedStrictly(t *testing.T) {
	t.Parallel()
	head, headOf := []byte{chunkVersion, 0, 0, 0, 0, 0}, []byte{chunkVersion, 0, 0, 0, 0}
	low, high := make([]byte, 12), append(make([]byte, 11), 1)
	if k := (Key{Hi: 1 << 24}); k.spot().before(spot{}) {
		low, high = high, low
	}
	tokens, window := []byte{0, 5, 0}, []byte{1, 5, 0}
	chunkOf := func(parts ...[]byte) []byte { return slices.Concat(append([][]byte{head}, parts...)...) }
	scoped := func(scope byte, from []byte, parts ...[]byte) []byte {
		return slices.Concat(append([][]byte{headOf, {scope}, from}, parts...)...)
	}
	for name, c := range map[string]struct {
		b     []byte
		valid bool
	}{
		"no bucket":        {head, true},
		"two":              {chunkOf(low, tokens, high, window), true},
		"a run":            {chunkOf(low, []byte{2, 1, 5, 2}), true},
		"gone":             {chunkOf(low, []byte{3}, high, tokens), true},
		"covers all":       {scoped(covers|onward, nil, low, tokens), true},
		"covers nothing":   {scoped(covers|onward, nil), true},
		"covers a stretch": {scoped(covers|behind, low, high, tokens), true},
		"covers the rest":  {scoped(covers|behind|onward, low), true},
		"empty":            {nil, false},
		"other version":    {[]byte{chunkVersion - 1, 0, 0, 0, 0, 0}, false},
		"other scope":      {scoped(covers|8, nil, low, tokens), false},
		"only onward":      {scoped(onward, nil, low, tokens), false},
		"only behind":      {scoped(behind, low, high, tokens), false},
		"no key to follow": {scoped(covers|behind, low[:9]), false},
		"no end":           {scoped(covers, nil), false},
		"before its start": {scoped(covers|behind, high, low, tokens), false},
		"at its start":     {scoped(covers|behind, low, low, tokens), false},
		"gone and covered": {scoped(covers|onward, nil, low, []byte{3}), false},
		"short head":       {head[:3], false},
		"long varint":      {[]byte{chunkVersion, 0x80, 0, 0, 0, 0, 0}, false},
		"cut key":          {chunkOf(low[:5]), false},
		"cut state":        {chunkOf(low, tokens[:2]), false},
		"other kind":       {chunkOf(low, []byte{4, 1, 1}), false},
		"no debt":          {chunkOf(low, []byte{0, 0, 0}), false},
		"wrong order":      {chunkOf(high, tokens, low, tokens), false},
		"twice":            {chunkOf(low, tokens, low, tokens), false},
		"no runs":          {chunkOf(low, []byte{2, 0}), false},
		"run of nothing":   {chunkOf(low, []byte{2, 1, 5, 0}), false},
		"run that ended":   {chunkOf(low, []byte{2, 1, 0, 2}), false},
		"zero slot":        {chunkOf(low, []byte{2, 1, 5, 3}, make([]byte, 16)), false},
		"long debt":        {chunkOf(low, []byte{0, 0x85, 0, 0}), false},
	} {
		if _, err := decodeChunk(c.b); (err == nil) != c.valid || err != nil && !errors.Is(err, ErrChunk) {
			t.Errorf("%s: %v, want valid %v", name, err, c.valid)
		}
	}
}

func TestRestoredChunkHasAged(t *testing.T) {
	t.Parallel()
	age := 20 * time.Minute // 2 of 7 an hour are earned, in the same hour
	for _, l := range everyAlgorithm() {
		for _, cold := range []bool{false, true} {
			home, again := NewStore(DefaultConfig()), NewStore(DefaultConfig())
			if cold {
				home.Cold(7, start)
			}
			home.Inherit(7, start-5)
			home.Charge(7, start, slotted(l, 5, 1))
			home.Charge(7, start, []Take{{Key: Key{Lo: 2}, Limit: &Limit{Algorithm: RollingLog, Count: 9, Period: time.Minute}, Cost: 2}})
			b := whole(home, start)
			later := start + int64(age)
			if err := again.Restore(7, later, age, b); err != nil {
				t.Error(err)
			}
			if want := whole(home, later); !bytes.Equal(whole(again, later), want) {
				t.Errorf("%v, cold %v: restored\n%x, want\n%x", l.Algorithm, cold, whole(again, later), want)
			}
			if again.Drop(7); again.Restore(7, start, -age, b) != nil || !bytes.Equal(whole(again, start), whole(home, start)) {
				t.Errorf("%v: a clock that was put back makes it younger", l.Algorithm)
			}
		}
	}
}

// What a disk kept too long is restored as older than any debt lasts, and goes on to a deputy from there.
func TestWhatWasRestoredAsOldAsCanBeIsExported(t *testing.T) {
	t.Parallel()
	home, again, deputy := NewStore(DefaultConfig()), NewStore(DefaultConfig()), NewStore(DefaultConfig())
	home.Cold(7, start)
	home.Inherit(7, start)
	for _, age := range []time.Duration{1<<62 - 1, 1 << 62, 1<<63 - 1} {
		again.Drop(7)
		if err := again.Restore(7, start, age, whole(home, start)); err != nil {
			t.Error(err)
		}
		b := whole(again, start+int64(time.Hour))
		if err := deputy.Restore(7, start, 0, b); err != nil {
			t.Errorf("aged by %d: %v", age, err)
		}
		deputy.Drop(7)
	}
}

// FuzzChunk sends any bytes: what is accepted must be written again the same way, and leave a store that works.
func FuzzChunk(f *testing.F) {
	home := NewStore(DefaultConfig())
	home.Cold(7, start-5)
	for i, l := range everyAlgorithm() {
		home.Take(7, start, []Take{{Key: Key{Lo: uint64(i)}, Limit: l, Cost: 3, Slot: Key{Lo: 4}}})
		f.Add(chunksOf(home, start, 3, 300)[0])
	}
	f.Add(chunksOf(home, start+int64(2*time.Hour), 3, 300)[0])
	home.Track(7, 4)
	for more := true; more; {
		var b []byte
		b, more = home.Changes(7, start, 300)
		f.Add(b)
	}
	home.Reset(7, Key{Lo: 1})
	changes, _ := home.Changes(7, start, 300)
	f.Add(changes)
	f.Add([]byte{chunkVersion, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewStore(Config{BucketsMax: 1000})
		errs := [2]error{s.Restore(9, start, 0, b), s.Restore(9, start+5, time.Minute, b)}
		if s.Len() != s.at(9).size() {
			t.Fatalf("%d buckets counted, there are %d", s.Len(), s.at(9).size())
		}
		if c, err := decodeChunk(b); (err == nil && c.number == 0) != (errs[0] == nil) && !errors.Is(errs[0], ErrFull) {
			t.Fatalf("%v, then %v", err, errs)
		}
		s.Drop(9)
		err := s.Merge(7, start, 1, b)
		if s.Len() != s.at(7).size() {
			t.Fatalf("%d buckets counted, there are %d", s.Len(), s.at(7).size())
		}
		if err != nil {
			if s.Len() != 0 || !errors.Is(err, ErrChunk) && !errors.Is(err, ErrGap) && !errors.Is(err, ErrFull) {
				t.Fatalf("%v, and %d buckets", err, s.Len())
			}
			return
		}
		for i, l := range everyAlgorithm() {
			takes := []Take{{Key: Key{Lo: uint64(i)}, Limit: l, Cost: 3, Slot: Key{Lo: 4}}}
			s.Take(7, start, takes)
			s.Charge(7, start+1, takes)
			s.Return(7, start+2, takes)
			s.Refund(7, start+2, takes)
		}
		merges(t, s, start, 2, chunksOf(s, start+3, 0, 0)...)
		if s.Len() != s.at(7).size() {
			t.Fatalf("%d buckets counted, there are %d", s.Len(), s.at(7).size())
		}
	})
}
