package bench

import (
	"testing"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-cluster/weir/api/weir/v1"
)

// What counting one outcome costs the load generator, which shares the machine with what it measures.
func BenchmarkCounting(b *testing.B) {
	m := &weirv1.CheckBatchResponse{}
	for range packedChecks {
		m.Outcomes = append(m.Outcomes, &weirv1.Outcome{Decision: &weirv1.Decision{
			Verdict: weirv1.Verdict_VERDICT_ALLOW, Reason: "OK", Remedy: "none", Home: "n1", Epoch: 3, DecisionId: "0123456789abcdef",
			Sources: []*weirv1.Draw{{Source: "LIMIT", Meter: "requests", Amount: 1}},
			Limits:  []*weirv1.LimitState{{Name: "user-rate", Limit: 1e9, Remaining: 1e9, WindowMs: 1000, Meter: "requests"}},
		}})
	}
	answer, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	var t tally
	b.ReportAllocs()
	for b.Loop() {
		if n, err := scan(answer, false, &t); err != nil || n != packedChecks {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packedChecks, "ns/outcome")
}
