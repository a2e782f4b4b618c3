package policy

import (
	"strconv"
	"testing"
)

func BenchmarkCheck(b *testing.B) {
	for _, limits := range []int{1, 3} {
		text := "version: 1\ndomains:\n  llm:\n    account: [user]\n    limits:\n"
		for i := range limits {
			text += "      - {name: l" + strconv.Itoa(i) + ", key: [user], algorithm: token_bucket, rate: 500000000/s, burst: 1000000000}\n"
		}
		g := newRig(b, text)
		r := Request{Domain: "llm", Attributes: []Attribute{{"user", "alice"}, {"model", "large"}}}
		b.Run(strconv.Itoa(limits)+"-limits", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := g.w.Check(b.Context(), r); err != nil || d.Verdict != Allow {
					b.Fatal(d, err)
				}
			}
		})
	}
}
