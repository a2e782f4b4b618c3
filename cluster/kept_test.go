package cluster

import (
	"testing"
	"time"
)

func TestAHomeThatBeganColdTakesTheFirstCopyThatADiskKept(t *testing.T) {
	shipping(t, func(h *harbour) {
		offer := func(r Report, merged, remembered uint64, why string) {
			h.t.Helper()
			r.Partition = 7
			err := h.nodes["c"].Merge(r)
			if got := h.shelf["c"].of(7); err != nil || got['m'] != merged || got['r'] != remembered {
				h.t.Errorf("%s: %v, has %v", why, err, got)
			}
		}
		h.unreachable("a")
		h.next("c", "b", "")
		h.reach(2)
		offer(Report{Source: 40, Kept: 9, Debits: []byte{1}, Last: true}, 0, 0, "of another tenure")
		offer(Report{Source: 41, Kept: 1, Debits: []byte{1}}, 41, 0, "the first part")
		offer(Report{Source: 42, Kept: 1, Debits: []byte{1}, Last: true}, 41, 0, "another one meanwhile")
		offer(Report{Source: 41, Kept: 1, Records: []byte{1, 2}, Last: true}, 41, 2, "the last part")
		offer(Report{Source: 41, Kept: 1, Records: []byte{1}, Last: true}, 41, 2, "the last part again")
		offer(Report{Source: 43, Kept: 1, Debits: []byte{1}, Last: true}, 41, 2, "another one later")
		offer(Report{Source: 44, Debits: []byte{1}, Last: true}, 44, 2, "what a deputy took")
		if found := h.nodes["c"].Tally().Found; found != 1 {
			h.t.Errorf("%d were found", found)
		}
		h.shelf["c"].set(7, 1, 1)
		time.Sleep(4 * shipEvery)
		h.unreachable("c")
		h.next("b", "a", "")
		h.reach(3)
		h.nodes["c"] = h.nodes["b"]
		h.shelf["c"] = h.shelf["b"]
		offer(Report{Source: 45, Kept: 2, Debits: []byte{1}, Last: true}, 44, 2, "to a home that began with a copy")
	})
}
