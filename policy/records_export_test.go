package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weir-cluster/weir/ring"
)

const exportPolicy = `
version: 1
domains:
  d:
    account: [user]
    limits:
      - {name: hour, key: [user], algorithm: fixed_window, limit: 1000, window: 1h}
`

// An export has all records, in chunks of the size asked for, and is not in the way of what is shipped.
func TestAnExportHasEveryRecordOnceAndLeavesTheChangesAlone(t *testing.T) {
	t.Parallel()
	g := newRig(t, exportPolicy)
	rs := g.few(0)
	n := g.node(rs)
	p := ring.Partition("d", "u")
	if chunks := slices.Collect(rs.Export(p, 1<<20)); len(chunks) != 0 {
		t.Errorf("of nothing: %d chunks", len(chunks))
	}
	rs.Track(p, true)
	revision := rs.Revision()
	for i := range 40 {
		r := Request{Domain: "d", Attributes: []Attribute{{Name: "user", Value: "u"}}, IdempotencyKey: fmt.Sprint("key-", i)}
		if i%2 == 0 {
			r.Mode = Reserve
		}
		if _, err := n.c.Check(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if was := revision; rs.Revision() <= was {
			t.Fatalf("record %d: revision %d after %d", i, rs.Revision(), was)
		}
		revision = rs.Revision()
	}
	want, more := rs.Changes(p, 1<<20) // 20 reservations, 40 decisions
	if more {
		t.Fatal("it does not fit a chunk")
	}
	rs.Track(p, true)
	const most = 700
	few := slices.Collect(rs.Export(p, most))
	records := 0
	for _, chunk := range few {
		form, err := readChunk(p, chunk)
		if n := len(form.reservations) + len(form.firsts); err != nil || n == 0 || n > 1 && len(chunk) > most {
			t.Fatalf("a chunk of %d bytes with %d records, %v", len(chunk), n, err)
		}
		records += len(form.reservations) + len(form.firsts)
	}
	if records != 60 || len(few) < 10 {
		t.Errorf("%d records in %d chunks, want 60", records, len(few))
	}
	again := g.inherit(t, p, few)
	if got, _ := rs.Changes(p, 1<<20); len(got) != len(want) {
		t.Errorf("after an export %d bytes are shipped, want %d", len(got), len(want))
	}
	if got := slices.Collect(again.records.Export(p, 1<<20)); len(got) != 1 || len(got[0]) != len(want) {
		t.Errorf("what was restored is of another size: %d chunks", len(got))
	}
	g.now = g.now.Add(48 * time.Hour)
	if chunks := slices.Collect(rs.Export(p, most)); len(chunks) != 0 {
		t.Errorf("of what has ended: %d chunks", len(chunks))
	}
}
