package ledger

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
)

// TestAnIndexIsAMap sets, finds and removes as a map does, whatever hashes clash.
func TestAnIndexIsAMap(t *testing.T) {
	t.Parallel()
	const ids = 3000
	for name, hash := range map[string]func(string) uint64{
		"as it is":              nil,
		"one for all, zero":     func(string) uint64 { return 0 },
		"a few near each other": func(id string) uint64 { return uint64(id[len(id)-1]%4) << 1 },
		"of one shard, about the end of its table": func(id string) uint64 {
			h := fnv.New32a()
			_, _ = h.Write([]byte(id))
			return 1<<56 - 1 - uint64(h.Sum32()%64)
		},
	} {
		names := make([]string, ids)
		x := newIndex(func(at uint32) string { return names[at] })
		if hash != nil {
			x.hash = hash
		}
		want := make(map[string]uint32)
		r := rand.New(rand.NewPCG(1, 2))
		many := ids
		if hash != nil {
			many = 200
		}
		for range 20 * many {
			at := uint32(r.IntN(many))
			names[at] = fmt.Sprint("id-", at%uint32(many))
			if r.IntN(3) == 0 {
				x.remove(names[at], at)
				delete(want, names[at])
			} else {
				x.set(names[at], at)
				want[names[at]] = at
			}
			look := fmt.Sprint("id-", r.IntN(many))
			got, is := x.find(look)
			if w, should := want[look]; is != should || got != w {
				t.Fatalf("%s: %s is at %d, %t, want %d, %t", name, look, got, is, w, should)
			}
		}
		used := len(x.clashes)
		for i := range x.shards {
			used += x.shards[i].used
		}
		if used != len(want) {
			t.Errorf("%s: %d entries for %d ids", name, used, len(want))
		}
	}
}
