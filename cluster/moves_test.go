package cluster

import (
	"testing"
	"time"

	"github.com/weir-cluster/weir/ring"
)

func TestAMoveIsMeasuredUntilItsEndOrWithdrawal(t *testing.T) {
	var m Moves
	at := time.Unix(100, 0)
	v := grown(t, nil, sighted("a", "1"), sighted("b", "1"))
	a, b := uint16(v.Find("a")), uint16(v.Find("b"))
	follow := func(change func(table *ring.Table), done uint64, took time.Duration) {
		t.Helper()
		next := *v
		table := *v.Table
		change(&table)
		next.Epoch, next.Table, v = v.Epoch+1, &table, &next
		at = at.Add(time.Second)
		m.Follow("a", v, at)
		if n, all := m.Tally(); n != done || all != took {
			t.Errorf("at epoch %d: %d moves took %v, want %d and %v", v.Epoch, n, all, done, took)
		}
	}
	follow(func(table *ring.Table) {
		for p := range 5 {
			table.Homes[p], table.Nexts[p] = b, a
		}
		table.Homes[5], table.Nexts[5] = a, b // away from it
	}, 0, 0)
	follow(func(table *ring.Table) { table.Homes[0], table.Nexts[0] = a, ring.None }, 1, time.Second)
	follow(func(table *ring.Table) { table.Nexts[1] = ring.None }, 1, time.Second) // withdrawn
	follow(func(table *ring.Table) { table.Homes[5], table.Nexts[5] = b, ring.None }, 1, time.Second)
	follow(func(table *ring.Table) {
		for p := 1; p < 5; p++ {
			table.Homes[p], table.Nexts[p] = a, ring.None
		}
	}, 4, time.Second+3*4*time.Second)
	m.Follow("c", v, at)
	if n, _ := m.Tally(); n != 4 {
		t.Errorf("%d moves to a node that is not in the roster", n)
	}
}
