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
	for _, n := range []int{3, 100} {
		roster := members(n)
		first, err := Plan(nil, roster, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("first/members=%d", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = Plan(nil, roster, 1)
			}
		})
		roster[0].Standing = Absent
		b.Run(fmt.Sprintf("crash/members=%d", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = Plan(first, roster, 2)
			}
		})
	}
}
