package ring

import (
	"fmt"
	"testing"
)

func BenchmarkPartition(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Partition("llm", "alice@example.com")
	}
}

func BenchmarkAccountID(b *testing.B) {
	values := []string{"alice@example.com"}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = AccountID(values)
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{3, 100, 200} {
		roster := members(n)
		first, err := Plan(nil, roster, 1, Moves{})
		if err != nil {
			b.Fatal(err)
		}
		plan := func(what string, last *Table, roster []Member, moves Moves) {
			b.Run(fmt.Sprintf("%s/members=%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = Plan(last, roster, 2, moves)
				}
			})
		}
		step := Moves{Ready: everything(), Batch: batch, Balance: true}
		plan("first", nil, roster, Moves{})
		plan("rest", first, roster, step)
		plan("join", first, append(members(n), Member{Name: "newcomer", Standing: Steady}), step)
		roster[0].Standing = Absent
		plan("crash", first, roster, Moves{Batch: batch})
	}
}
