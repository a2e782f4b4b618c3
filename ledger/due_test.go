package ledger

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The two levels of due against a sorted list of everything.
func TestDueKnowsTheSoonestOfEachAccountAndOfAll(t *testing.T) {
	t.Parallel()
	type entry struct {
		payer uint32
		deadline
	}
	rapid.Check(t, func(r *rapid.T) {
		d := newDue()
		var all []entry
		for i := range rapid.IntRange(1, 80).Draw(r, "steps") {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(r, "remove") == 0 {
				gone := rapid.IntRange(0, len(all)-1).Draw(r, "which")
				d.remove(all[gone].payer, all[gone].deadline)
				all = slices.Delete(all, gone, gone+1)
			} else {
				n := entry{uint32(rapid.IntRange(0, 9).Draw(r, "payer")), deadline{int64(rapid.IntRange(0, 20).Draw(r, "at")), fmt.Sprint(i)}}
				d.add(n.payer, n.deadline)
				all = append(all, n)
			}
			slices.SortFunc(all, func(x, y entry) int { return soonest(x.deadline, y.deadline) })
			first, ok := d.first()
			if ok != (len(all) > 0) || (ok && first != all[0].deadline) || d.count != len(all) {
				r.Fatalf("first is %+v, %v, of %+v", first, ok, all)
			}
			for payer := range uint32(10) {
				i := slices.IndexFunc(all, func(e entry) bool { return e.payer == payer && e.at <= 10 })
				id, ok := d.of(payer, 10)
				if ok != (i >= 0) || (ok && id != all[i].id) {
					r.Fatalf("of account %d: %s, %v, of %+v", payer, id, ok, all)
				}
			}
		}
	})
}

func TestEndedHoldsComeInTheOrderInWhichTheyEnded(t *testing.T) {
	var e ended
	for i := range uint64(100) {
		e.add(ending{seq: i})
	}
	for i := range uint64(100) {
		if first, ok := e.first(); !ok || first.seq != i {
			t.Fatalf("%d: %+v, %v", i, first, ok)
		}
		e.pop()
		e.add(ending{seq: 100 + i})
	}
	if len(e.all)-e.gone != 100 || len(e.all) > 250 {
		t.Errorf("%d of %d", e.gone, len(e.all))
	}
}
